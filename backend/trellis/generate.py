"""The order in which an object is made (arXiv 2412.01506 section 3), as a generator of steps and outputs.

    guide -> condition -> structure latent -> voxels -> structured latent -> Gaussians, radiance field, mesh

Every random number comes from the one CPU generator that is given, in the published order.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from backend.errors import UserError
from backend.sampling import (
    ConditionalModel,
    SamplerSettings,
    euler_steps,
    guided,
    noised,
    predict_x0,
    timesteps,
)
from backend.trellis.conditioning import Condition
from backend.trellis.decoding import (
    DECODERS,
    EmptyStructure,
    Report,
    StructuredLatent,
    Voxels,
    before_each_layer,
    decode_structure,
    silent,
)
from backend.trellis.networks import Networks
from blender_trellis.protocol import Stage

Guide = Iterable[Image.Image] | str | Condition
"""What the object should be: cut-out pictures of it, a sentence, or a condition that was made before."""


@dataclass(frozen=True)
class Settings:
    """How the object is made; `samples` objects are made at once, from noise that is drawn at once."""

    structure: SamplerSettings
    latent: SamplerSettings
    formats: tuple[str, ...]
    samples: int = 1
    multi_picture: str = "stochastic"


@dataclass(frozen=True)
class Step:
    """`step` of `steps` of a stage are done, over all samples.

    After a sampler's step, x is what it has come to and x0 the estimate of the data: of the structure latent
    (1, C, r, r, r), or of the normalised structured latent (L, C).
    """

    stage: Stage
    step: int
    steps: int
    sample: int = 0
    x: Tensor | None = None
    x0: Tensor | None = None


@dataclass(frozen=True)
class Output:
    """A result of one sample, as soon as it exists.

    By kind: "structure_latent" (1, C, r, r, r) · "voxels" Voxels · "structured_latent" StructuredLatent ·
    "gaussian" Gaussians · "radiance_field" RadianceField · "mesh" Mesh.
    """

    kind: str
    value: Any
    sample: int = 0


@torch.inference_mode()
def generate(
    networks: Networks,
    guide: Guide,
    settings: Settings,
    generator: torch.Generator,
    voxels: Sequence[Voxels] | None = None,
    report: Report = silent,
) -> Iterator[Step | Output]:
    """All steps and outputs of making an object; with `voxels`, one for each sample, its shape is given.

    Between them `report` tells how far a long computation is, and may raise to stop. Raises EmptyStructure
    where no voxel is occupied, and UserError where the model lacks what is asked for.
    """
    yield Step("condition", 0, 1)
    condition = _condition(networks, guide)
    yield Step("condition", 1, 1)
    if voxels is None:
        voxels = yield from _structure(networks, condition, settings, generator, report)
    latents = yield from _structured_latent(networks, condition, voxels, settings, generator, report)
    for sample, latent in enumerate(latents):
        yield from _decode(networks, latent, settings.formats, sample, report)


def _condition(networks: Networks, guide: Guide) -> Condition:
    if isinstance(guide, Condition):
        return guide
    if isinstance(guide, str):
        return networks.conditioner.from_text(guide)
    return networks.conditioner.from_pictures(list(guide))


def _structure(
    networks: Networks, condition: Condition, settings: Settings, generator: torch.Generator, report: Report
) -> Generator[Step | Output, None, list[Voxels]]:
    """Stage 1: where the object is."""
    yield Step("sparse_structure", 0, 1)
    flow = networks["sparse_structure_flow_model"]
    sampler = _Sampler(
        "sparse_structure", flow, condition, settings, networks.folder.structure_sigma_min, report
    )
    size = (flow.config.in_channels, *(flow.config.resolution,) * 3)
    noise = torch.randn(settings.samples, *size, generator=generator).to(networks.device)
    latents = []
    for sample, one in enumerate(noise.split(1)):
        latents.append((yield from sampler.run(flow, one, condition.structure_start, sample)))
    for sample, latent in enumerate(latents):
        yield Output("structure_latent", latent, sample)
    yield Step("decode_sparse_structure", 0, 1)
    voxels = [decode_structure(networks, latent, report) for latent in latents]
    if any(len(one.coords) == 0 for one in voxels):
        raise EmptyStructure
    for sample, one in enumerate(voxels):
        yield Output("voxels", one, sample)
    return voxels


def _structured_latent(
    networks: Networks,
    condition: Condition,
    voxels: Sequence[Voxels],
    settings: Settings,
    generator: torch.Generator,
    report: Report,
) -> Generator[Step | Output, None, list[StructuredLatent]]:
    """Stage 2: what is on each voxel."""
    yield Step("structured_latent", 0, 1)
    flow = networks["slat_flow_model"]
    sampler = _Sampler("structured_latent", flow, condition, settings, networks.folder.slat_sigma_min, report)
    lengths = [len(one.coords) for one in voxels]
    noise = torch.randn(sum(lengths), flow.config.in_channels, generator=generator).to(networks.device)
    mean, std = (torch.tensor(v, device=networks.device) for v in networks.folder.slat_normalization)
    latents = []
    for sample, (one, rows) in enumerate(zip(voxels, noise.split(lengths), strict=True)):
        on_voxels = partial(flow, structure=flow.structure(one.coords))
        x = yield from sampler.run(on_voxels, rows, condition.latent_start_at(one.coords), sample)
        latents.append(StructuredLatent(one.coords, x * std + mean, one.resolution))
    for sample, latent in enumerate(latents):
        yield Output("structured_latent", latent, sample)
    return latents


def _decode(
    networks: Networks, latent: StructuredLatent, formats: Sequence[str], sample: int, report: Report
) -> Iterator[Step | Output]:
    for kind, decode in DECODERS.items():
        if kind in formats:
            stage: Stage = f"decode_{kind}"  # type: ignore[assignment]
            yield Step(stage, 0, 1, sample)
            yield Output(kind, decode(networks, latent, report), sample)
            yield Step(stage, 1, 1, sample)


class _Sampler:
    """Samples one stage's latents under one condition."""

    def __init__(
        self,
        stage: Literal["sparse_structure", "structured_latent"],
        flow: nn.Module,
        condition: Condition,
        settings: Settings,
        sigma_min: float,
        report: Report,
    ) -> None:
        self._stage: Stage = stage
        self._flow = flow
        # Cross-attention keys and values of every condition and of its absence, computed once.
        self._contexts = [flow.context(tokens) for tokens in condition.tokens], flow.context(condition.null)
        self._settings = settings.structure if stage == "sparse_structure" else settings.latent
        self._multi_picture = settings.multi_picture
        self._samples = settings.samples
        self._sigma_min = sigma_min
        self._report = report

    def run(
        self, model: ConditionalModel, noise: Tensor, start: Tensor | None, sample: int
    ) -> Generator[Step, None, Tensor]:
        """Integrate one sample from noise, or from a start latent noised to t = strength."""
        settings = self._settings
        velocity = guided(model, *self._contexts, settings, self._multi_picture)
        x = self._noised(start, noise)
        done, of = sample * settings.steps, self._samples * settings.steps
        with before_each_layer(self._flow, lambda: self._report(self._stage, done, of)):
            for one in euler_steps(
                velocity, x, timesteps(settings.steps, settings.rescale_t, settings.strength)
            ):
                x, done = one.after, done + 1
                estimate = predict_x0(one.before, one.t, one.velocity, self._sigma_min)
                yield Step(self._stage, done, of, sample, x, estimate)
        return x

    def _noised(self, start: Tensor | None, noise: Tensor) -> Tensor:
        if start is not None:
            return noised(start, noise, self._settings.strength, self._sigma_min)
        if self._settings.strength < 1.0:
            raise UserError("This model has no latent to start from; set the strength to 1.")
        return noise
