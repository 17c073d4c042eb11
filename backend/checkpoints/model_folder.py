"""A model's folder: pipeline.json says which checkpoint plays which role and how the flows are sampled.

A folder may carry SHA256SUMS, which is then verified. Text models borrow decoders from another repository by
"owner/repo/path".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from backend.checkpoints.checksums import former_hash, model_hash, verify
from backend.checkpoints.find_model import find_checkpoint, find_model
from backend.config import parse_config, read_json
from backend.errors import UserError
from backend.machine.hub_cache import repository_name
from backend.sampling import SIGMA_MIN, SamplerSettings

SAMPLERS = ("FlowEulerSampler", "FlowEulerCfgSampler", "FlowEulerGuidanceIntervalSampler")
_ANY = {"range": (-1e6, 1e6)}
_REMEDY = "download the model again, or take newer software."


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of the structured latent; unpacks as (mean, std)."""

    mean: tuple[float, ...] = field(default=(), metadata=_ANY)
    std: tuple[float, ...] = ()

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        return iter((self.mean, self.std))


@dataclass(frozen=True)
class _SamplerArgs:
    sigma_min: float = SIGMA_MIN


@dataclass(frozen=True)
class _SamplerParams:
    """None: as the sampler's class has it."""

    steps: int | None = None
    rescale_t: float | None = None
    cfg_strength: float | None = field(default=None, metadata=_ANY)
    cfg_interval: tuple[float, float] | None = None
    strength: float | None = None


@dataclass(frozen=True)
class _Sampler:
    name: str = SAMPLERS[2]
    args: _SamplerArgs = _SamplerArgs()
    params: _SamplerParams = _SamplerParams()

    def settings(self, where: str) -> SamplerSettings:
        """The class decides whether there is guidance."""
        if self.name not in SAMPLERS:
            raise UserError(f"{where} is {self.name}: this software knows {', '.join(SAMPLERS)}.")
        without = {"cfg_strength": 0.0} if self.name == SAMPLERS[0] else {}
        try:
            return SamplerSettings().merged(vars(self.params) | vars(self.args) | without)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


@dataclass(frozen=True)
class _Args:
    models: dict[str, str] = field(default_factory=dict)
    sparse_structure_sampler: _Sampler = _Sampler()
    slat_sampler: _Sampler = _Sampler()
    slat_normalization: Normalization = Normalization()
    image_cond_model: str | None = None
    text_cond_model: str | None = None


@dataclass(frozen=True)
class _Pipeline:
    """The content of pipeline.json."""

    args: _Args
    name: str = ""


@dataclass(frozen=True)
class ModelFolder:
    """pipeline.json, parsed. `models` maps each role to the path of its checkpoint without suffix."""

    path: Path
    name: str
    pipeline: str
    models: dict[str, Path]
    structure_sampler: SamplerSettings
    slat_sampler: SamplerSettings
    slat_normalization: Normalization
    image_cond_model: str | None
    text_cond_model: str | None

    @cached_property
    def hash(self) -> str:
        """Names exactly these weights, with those that another folder lends."""
        encoder = self.text_cond_model or self.image_cond_model or ""
        own = {"conditioner": self.path / encoder} if "/" in encoder else {}  # others are published ones
        return model_hash(self.path, self.models | own)

    @cached_property
    def _former_hash(self) -> str:
        return former_hash(self.path)

    def made(self, known: str) -> bool:
        """Whether the hash that an asset was stored with is this model's, also as it was counted before."""
        return known == self.hash or known == self._former_hash


def open_folder(model: str | Path) -> ModelFolder:
    """A bundled or downloaded model by name ("starter", "owner/repo"), or any folder by path.

    MissingModel if there is none; UserError if its pipeline.json is broken or a file is not what SHA256SUMS
    says.
    """
    folder = read_folder(model)
    verify(folder.path)
    return folder


def read_folder(model: str | Path) -> ModelFolder:
    """As `open_folder`, without verifying sums, which takes time."""
    folder = find_model(model)
    path = folder / "pipeline.json"
    settings = parse_config(_Pipeline, read_json(path), str(path), _REMEDY)
    args = settings.args
    mean, std = args.slat_normalization
    if len(mean) != len(std):
        raise UserError(f"slat_normalization.std in {path} is not as long as mean: {_REMEDY}")
    if min(std, default=1) <= 0:
        raise UserError(f"slat_normalization.std in {path} must be above 0: {_REMEDY}")
    name = str(model) if isinstance(model, str) else repository_name(folder) or folder.name
    return ModelFolder(
        folder,
        name,
        settings.name,
        {role: _checkpoint(folder, role, value) for role, value in args.models.items()},
        args.sparse_structure_sampler.settings(f"sparse_structure_sampler in {path}"),
        args.slat_sampler.settings(f"slat_sampler in {path}"),
        args.slat_normalization,
        args.image_cond_model,
        args.text_cond_model,
    )


def _checkpoint(folder: Path, role: str, value: str) -> Path:
    parts = PurePosixPath(value).parts
    if not parts or ".." in parts or parts[0] == "/":
        raise UserError(
            f"The path of {role} in {folder / 'pipeline.json'} is {value!r}, which is not a path inside the"
            " folder."
        )
    return find_checkpoint(folder, parts)
