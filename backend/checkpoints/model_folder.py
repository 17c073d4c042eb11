"""A model's folder: pipeline.json says which checkpoint plays which role and how the flows are sampled.

A folder may carry SHA256SUMS (as `sha256sum` writes it), which is then verified. Text models borrow decoders
from another repository by "owner/repo/path"; such folders are looked up beside this one and in the models
folder.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from backend.errors import MissingModel, UserError
from backend.sampling import SamplerSettings

WEIGHTS = Path(__file__).parents[1] / "weights"
SUMS = "SHA256SUMS"
SAMPLERS = ("FlowEulerSampler", "FlowEulerCfgSampler", "FlowEulerGuidanceIntervalSampler")


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of the structured latent; unpacks as (mean, std)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        return iter((self.mean, self.std))


@dataclass(frozen=True)
class ModelFolder:
    """pipeline.json, parsed. `models` maps each role to the path of its checkpoint without suffix."""

    path: Path
    name: str
    pipeline: str
    models: dict[str, Path]
    structure_sampler: SamplerSettings
    structure_sigma_min: float
    slat_sampler: SamplerSettings
    slat_sigma_min: float
    slat_normalization: Normalization
    image_cond_model: str | None
    text_cond_model: str | None

    @cached_property
    def hash(self) -> str:
        """sha256 over the sorted paths and sha256 sums of the folder's files: names exactly these weights."""
        sums = _read_sums(self.path) if (self.path / SUMS).is_file() else _make_sums(self.path)
        text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        return hashlib.sha256(text.encode()).hexdigest()


def models_folder() -> Path:
    """Where downloaded models lie: the environment variable TRELLIS_MODELS, or the user's cache."""
    return Path(os.environ.get("TRELLIS_MODELS") or Path.home() / ".cache" / "trellis" / "models")


def bundled_models() -> tuple[str, ...]:
    """Names of the models that come with this software."""
    return _models_in(WEIGHTS)


def available_models() -> tuple[str, ...]:
    """Names of the models that `open_folder` finds without a path: bundled ones, then downloaded ones."""
    return tuple(dict.fromkeys((*bundled_models(), *_models_in(models_folder()))))


def text_models() -> tuple[str, ...]:
    """Those of the available models that take sentences."""
    return tuple(name for name in available_models() if _takes_text(_find(name) / "pipeline.json"))


def open_folder(model: str | Path) -> ModelFolder:
    """A bundled or downloaded model by name ("starter", "owner/repo"), or any folder by path.

    MissingModel if there is none; UserError if its pipeline.json is broken or a file is not what SHA256SUMS
    says.
    """
    folder = _find(model)
    name = str(model) if isinstance(model, str) else folder.name
    args, pipeline = _read_pipeline(folder / "pipeline.json")
    if (folder / SUMS).is_file():
        _verify(folder)
    structure, structure_sigma = _sampler(args, "sparse_structure_sampler")
    slat, slat_sigma = _sampler(args, "slat_sampler")
    return ModelFolder(
        folder,
        name,
        pipeline,
        {role: _checkpoint(folder, role, value) for role, value in _object(args, "models").items()},
        structure,
        structure_sigma,
        slat,
        slat_sigma,
        _normalization(args),
        _optional_name(args, "image_cond_model"),
        _optional_name(args, "text_cond_model"),
    )


def _takes_text(path: Path) -> bool:
    try:
        args, _ = _read_pipeline(path)
    except UserError:  # whoever opens the model will be told
        return False
    return bool(args.get("text_cond_model"))


def _models_in(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    found = {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/pipeline.json")}
    found |= {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/pipeline.json")}
    return tuple(sorted(found))


def _find(model: str | Path) -> Path:
    candidates = [Path(model).expanduser()]
    if isinstance(model, str) and not Path(model).is_absolute():
        name = PurePosixPath(model)
        candidates = [WEIGHTS / name, models_folder() / name, models_folder() / name.name, *candidates]
    for candidate in candidates:
        if (candidate / "pipeline.json").is_file():
            return candidate.resolve()
    raise MissingModel(
        f"There is no model {model}: give the folder that holds its pipeline.json, or download the model "
        f"into {models_folder()}."
    )


def _read_pipeline(path: Path) -> tuple[dict, str]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): download the model again.") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("args"), dict):
        raise UserError(f"{path} has no args: download the model again.")
    known = {"models", "sparse_structure_sampler", "slat_sampler", "slat_normalization"}
    unknown = sorted(set(settings["args"]) - known - {"image_cond_model", "text_cond_model"})
    if unknown:
        raise UserError(
            f"{path} has the unknown setting {', '.join(unknown)}: this model needs newer software."
        )
    return settings["args"], str(settings.get("name", ""))


def _object(args: dict, key: str) -> dict:
    value = args.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{key} in pipeline.json must be a JSON object: download the model again.")
    return value


def _sampler(args: dict, key: str) -> tuple[SamplerSettings, float]:
    """Published sampler -> settings and sigma_min; the class decides whether there is guidance."""
    sampler = _object(args, key)
    name = sampler.get("name", SAMPLERS[2])
    if name not in SAMPLERS:
        raise UserError(f"{key} in pipeline.json is {name}: this software knows {', '.join(SAMPLERS)}.")
    params = dict(_object(sampler, "params"))
    if name == "FlowEulerSampler":
        params["cfg_strength"] = 0.0
    if "cfg_interval" in params:
        params["cfg_interval"] = tuple(_numbers(params["cfg_interval"], f"{key}.cfg_interval", 2))
    unknown = sorted(set(params) - {"steps", "rescale_t", "cfg_strength", "cfg_interval", "strength"})
    if unknown:
        raise UserError(f"{key} in pipeline.json has the unknown setting {', '.join(unknown)}.")
    sigma_min = _object(sampler, "args").get("sigma_min", 1e-5)
    _numbers([sigma_min, *(value for value in params.values() if not isinstance(value, tuple))], key)
    if not isinstance(params.get("steps", 1), int):
        raise UserError(f"{key}.steps in pipeline.json must be a whole number.")
    return SamplerSettings().merged(params), float(sigma_min)


def _normalization(args: dict) -> Normalization:
    table = _object(args, "slat_normalization")
    mean = _numbers(table.get("mean", []), "slat_normalization.mean")
    std = _numbers(table.get("std", []), "slat_normalization.std", len(mean))
    return Normalization(mean, std)


def _numbers(values: object, name: str, count: int | None = None) -> tuple[float, ...]:
    numbers = values if isinstance(values, list | tuple) else [None]
    right = all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers)
    if not right or (count is not None and len(numbers) != count):
        raise UserError(f"{name} in pipeline.json is not a list of numbers of the right length.")
    return tuple(numbers)


def _optional_name(args: dict, key: str) -> str | None:
    value = args.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key} in pipeline.json must be a name, not {value!r}.")
    return value


def _checkpoint(folder: Path, role: str, value: object) -> Path:
    """Path of a role's checkpoint: inside the folder, or in the repository that "owner/repo/path" names."""
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    if not parts or ".." in parts or parts[0] == "/":
        raise UserError(
            f"The path of {role} in pipeline.json is {value!r}, which is not a path inside the folder."
        )
    candidates = [folder.joinpath(*parts)]
    if len(parts) > 2:
        owner, repository, *rest = parts
        for home in (folder.parent, folder.parent.parent, models_folder()):
            candidates += [home.joinpath(repository, *rest), home.joinpath(owner, repository, *rest)]
    found = (path for path in candidates if path.with_name(path.name + ".json").is_file())
    return next(found, candidates[-1])


def _verify(folder: Path) -> None:
    for name, digest in _read_sums(folder).items():
        if not (folder / name).is_file():
            raise MissingModel(f"The model file {folder / name} is missing: download the model again.")
        if _sha256(folder / name) != digest:
            raise UserError(
                f"The model file {folder / name} is damaged (wrong sha256): download the model again."
            )


def _read_sums(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of each line of SHA256SUMS."""
    sums = {}
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(\S.*)", line)
        if match is None or ".." in PurePosixPath(match[2]).parts or match[2].startswith("/"):
            raise UserError(f"{folder / SUMS} has the broken line {line[:80]!r}: download the model again.")
        sums[match[2]] = match[1].lower()
    return sums


def _make_sums(folder: Path) -> dict[str, str]:
    files = [path for suffix in ("json", "safetensors") for path in folder.rglob(f"*.{suffix}")]
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
