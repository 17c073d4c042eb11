"""Picture or sentence -> tokens -> sparse structure -> structured latent -> mesh, Gaussians, radiance field.

The two-stage flow of arXiv 2412.01506 §3, one object at a time, top to bottom. The pipeline alone joins
models and representations; every random number comes from the one CPU generator it is given, in the published
order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from backend.checkpoints.model_info import nothing_found
from backend.checkpoints.weights import ModelFolder, open_folder, read_model
from backend.errors import MissingModel, UserError
from backend.layers.engines import TORCH, Engine, choose_engine
from backend.representations.flexicubes import extract_mesh
from backend.representations.gaussians import GaussianConfig, Gaussians, decode_gaussians
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import RadianceField, RadianceFieldConfig, decode_radiance_field
from backend.representations.structure import occupied_voxels
from backend.sampling import SamplerSettings, flow_euler, guided, noised, timesteps
from backend.trellis.conditioning import Condition, Conditioner, load_conditioner

OnStep = Callable[[int, int], None]


def silent(step: int, steps: int) -> None:
    """An OnStep that does nothing."""


class Pipeline:
    """The models of one folder on one device; they are read from disk when first needed and then kept."""

    def __init__(
        self,
        folder: ModelFolder,
        device: torch.device,
        dtype: torch.dtype,
        models: dict[str, nn.Module] | None = None,
        conditioner: Conditioner | None = None,
        engine: Engine = TORCH,
    ) -> None:
        self.folder = folder
        self.device = device
        self.dtype = dtype
        self.engine = engine
        self._models = dict(models or {})
        self._conditioner = conditioner

    @classmethod
    def open(
        cls, model: str | Path, device: torch.device, dtype: torch.dtype, engine: str = "torch"
    ) -> "Pipeline":
        """A pipeline over a model's folder or bundled name; nothing is loaded yet."""
        return cls(open_folder(model), device, dtype, engine=choose_engine(engine, device))

    def model(self, role: str) -> nn.Module:
        """The model of one role of pipeline.json, e.g. "slat_decoder_gs"."""
        if role not in self._models:
            if role not in self.folder.models:
                raise MissingModel(
                    f"The model {self.folder.name} has no {role}; choose other formats or another model."
                )
            path = self.folder.models[role]
            self._models[role] = read_model(path, self.dtype, self.device, self.engine)
        return self._models[role]

    @property
    def conditioner(self) -> Conditioner:
        """The encoder of pictures or text that pipeline.json names."""
        if self._conditioner is None:
            self._conditioner = load_conditioner(self.folder, self.device)
        return self._conditioner

    @torch.inference_mode()
    def condition_on_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        """Condition from one or several pre-processed pictures of one object (§3.1 of the pre-processing)."""
        return self.conditioner.from_pictures(pictures)

    @torch.inference_mode()
    def condition_on_text(self, prompt: str) -> Condition:
        """Condition from one sentence."""
        return self.conditioner.from_text(prompt)

    @torch.inference_mode()
    def sample_structure_latent(
        self,
        condition: Condition,
        settings: SamplerSettings,
        generator: torch.Generator,
        samples: int = 1,
        multi_picture: str = "stochastic",
        on_step: OnStep = silent,
    ) -> Tensor:
        """Stage 1: structure latents (samples, C, r, r, r); the noise of all samples is drawn at once."""
        flow = self.model("sparse_structure_flow_model")
        size = (flow.config.in_channels, *(flow.config.resolution,) * 3)
        noise = torch.randn(samples, *size, generator=generator).to(self.device)
        velocity = _guided(flow, condition, settings, multi_picture)
        results = [
            _sample(velocity, noise[n : n + 1], condition.structure_start, settings, n, samples, on_step)
            for n in range(samples)
        ]
        return torch.cat(results)

    @torch.inference_mode()
    def decode_structure(self, latent: Tensor) -> list[Tensor]:
        """Occupied voxels (L, 3) int32 of every sample, sorted: where the decoder's logit is above 0.

        They have the structured latent's resolution, to which a finer structure is pooled.
        """
        resolution = self.model("slat_flow_model").config.resolution
        logits = [self.model("sparse_structure_decoder")(one[None])[0, 0] for one in latent]
        coords = [occupied_voxels(one, resolution).int() for one in logits]
        if any(len(one) == 0 for one in coords):
            raise UserError(nothing_found(self.folder))
        return coords

    @torch.inference_mode()
    def sample_structured_latent(
        self,
        condition: Condition,
        coords: Sequence[Tensor],
        settings: SamplerSettings,
        generator: torch.Generator,
        multi_picture: str = "stochastic",
        on_step: OnStep = silent,
    ) -> list[Tensor]:
        """Stage 2: the structured latent (L, C) on each sample's voxels (L, 3), de-normalised."""
        flow = self.model("slat_flow_model")
        noise = torch.randn(sum(map(len, coords)), flow.config.in_channels, generator=generator).to(
            self.device
        )
        mean, std = (torch.tensor(v, device=self.device) for v in self.folder.slat_normalization)
        contexts, null = _contexts(flow, condition)
        results = []
        for n, (one, start_noise) in enumerate(
            zip(coords, noise.split([len(c) for c in coords]), strict=True)
        ):
            on_structure = partial(flow, structure=flow.structure(one))
            velocity = guided(on_structure, contexts, null, settings, multi_picture)
            start = condition.latent_start_at(one)
            results.append(
                _sample(velocity, start_noise, start, settings, n, len(coords), on_step) * std + mean
            )
        return results

    @torch.inference_mode()
    def decode_cubes(self, coords: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Cubes (64·L, 3) of the four times finer grid and their raw features (64·L, C)."""
        decoder = self.model("slat_decoder_mesh")
        return decoder(latent, decoder.structure(coords))

    @torch.inference_mode()
    def extract_mesh(self, cubes: Tensor, features: Tensor) -> Mesh:
        """The surface in those cubes, by FlexiCubes."""
        return extract_mesh(cubes, features, 4 * self.model("slat_decoder_mesh").config.resolution)

    def decode_mesh(self, coords: Tensor, latent: Tensor) -> Mesh:
        """The mesh of one structured latent (L, C) on voxels (L, 3)."""
        return self.extract_mesh(*self.decode_cubes(coords, latent))

    @torch.inference_mode()
    def decode_gaussians(self, coords: Tensor, latent: Tensor) -> Gaussians:
        """The 3D Gaussians of one structured latent."""
        decoder = self.model("slat_decoder_gs")
        raw = decoder(latent, decoder.structure(coords))
        return decode_gaussians(coords, raw, gaussian_config(decoder), decoder.offset_perturbation)

    @torch.inference_mode()
    def decode_radiance_field(self, coords: Tensor, latent: Tensor) -> RadianceField:
        """The tri-vector radiance field of one structured latent."""
        decoder = self.model("slat_decoder_rf")
        raw = decoder(latent, decoder.structure(coords))
        return decode_radiance_field(coords, raw, radiance_field_config(decoder))


def gaussian_config(decoder: nn.Module) -> GaussianConfig:
    """How the raw numbers of a Gaussian decoder become Gaussians."""
    return GaussianConfig.from_json(decoder.config.representation_config, decoder.config.resolution)


def radiance_field_config(decoder: nn.Module) -> RadianceFieldConfig:
    """How the raw numbers of a radiance-field decoder become a field."""
    return RadianceFieldConfig.from_json(decoder.config.representation_config, decoder.config.resolution)


def _contexts(flow: nn.Module, condition: Condition) -> tuple[list, object]:
    """Cross-attention keys and values of every condition and of its absence, computed once a generation."""
    return [flow.context(tokens) for tokens in condition.tokens], flow.context(condition.null)


def _guided(flow: nn.Module, condition: Condition, settings: SamplerSettings, multi_picture: str):
    contexts, null = _contexts(flow, condition)
    return guided(flow, contexts, null, settings, multi_picture)


def _sample(
    velocity,
    noise: Tensor,
    start: Tensor | None,
    settings: SamplerSettings,
    n: int,
    samples: int,
    on_step: OnStep,
) -> Tensor:
    """Integrate one sample from noise, or from a start latent noised to t = strength."""
    if start is None and settings.strength < 1.0:
        raise UserError("This model has no latent to start from; set the strength to 1.")
    x = noise if start is None else noised(start, noise, settings.strength, settings.sigma_min)
    total = settings.steps * samples

    def report(step: int, t: float, before: Tensor, v: Tensor, after: Tensor) -> None:
        on_step(n * settings.steps + step + 1, total)

    return flow_euler(velocity, x, timesteps(settings.steps, settings.rescale_t, settings.strength), report)
