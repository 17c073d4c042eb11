"""The two stages of the flow, each as a generator of steps that returns the latents it has sampled.

Source: arXiv 2412.01506 section 3.3. Noise of all samples is drawn at once, in the published order.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from backend.errors import UserError
from backend.lifting.aligned_flow import AlignedSLatFlowModel, AlignedStructureFlowModel
from backend.lifting.solid import SolidGuess, given_on_voxels
from backend.sampling import (
    ConditionalModel,
    Known,
    SamplerSettings,
    Velocity,
    euler_steps,
    guidance_in_one_pass,
    guided,
    known_steps,
    noised,
    predict_x0,
    timesteps,
)
from backend.trellis.conditioning import Condition
from backend.trellis.decoding import Report, before_each_layer, silent
from backend.trellis.networks import Networks
from backend.trellis.preflight.check import require_memory
from backend.trellis.residency import flow_working_bytes
from blender_trellis.protocol import Stage

Contexts: TypeAlias = tuple[list[Any], Any]
"""Cross-attention keys and values of every condition and of its absence, computed once for all steps."""


@dataclass(frozen=True)
class Settings:
    """How the object is made; `samples` objects are made at once, from noise that is drawn at once.

    close_border: whether a mesh is closed where it reaches the border of the unit cube.
    """

    structure: SamplerSettings
    latent: SamplerSettings
    formats: tuple[str, ...]
    samples: int = 1
    multi_picture: str = "stochastic"
    close_border: bool = True


@dataclass(frozen=True)
class Step:
    """`step` of `steps` of a stage are done, over all samples.

    After a sampler's step, x is what it has come to and x0 the estimate of the data: of the structure latent
    (1, C, r, r, r), or of the normalised structured latent (L, C). solid: what shapes the voxels of such a
    structure, where the guide tells.
    """

    stage: Stage
    step: int
    steps: int
    sample: int = 0
    x: Tensor | None = None
    x0: Tensor | None = None
    solid: SolidGuess | None = None


@dataclass(frozen=True)
class Output:
    """A result of one sample, as soon as it exists.

    By kind: "preview" Voxels · "structure_latent" (1, C, r, r, r) · "voxels" Voxels · "structured_latent"
    StructuredLatent · "gaussian" Gaussians · "radiance_field" RadianceField · "mesh" Mesh ·
    "finished_mesh" FinishedMesh · "vertex_colors" VertexColors.
    kept: which vertices or splats (N,) of an edit's mesh or Gaussians are those of the asset as it was.
    about: facts for who asked, such as where the unit cube of an encoded mesh lies.
    """

    kind: str
    value: Any
    sample: int = 0
    kept: Tensor | None = None
    about: Mapping[str, float | str] = field(default_factory=dict)


def sample_structure(
    networks: Networks,
    condition: Condition,
    settings: Settings,
    generator: torch.Generator,
    report: Report = silent,
    known: Known | None = None,
) -> Generator[Step, None, list[Tensor]]:
    """Stage 1, where the object is: one structure latent (1, C, r, r, r) for each sample.

    `known` is what every sample must keep of a former latent.
    """
    yield Step("sparse_structure", 0, 1)
    config = networks.config("sparse_structure_flow_model")
    tokens = (config.resolution // config.patch_size) ** 3
    networks.begin(
        "sparse_structure", flow_working_bytes(tokens, config.model_channels, networks.dtype.itemsize)
    )
    flow = networks["sparse_structure_flow_model"]
    contexts = structure_contexts(flow, condition, known)
    solid = condition.solid if known is None else None
    sampler = _Sampler("sparse_structure", flow, settings, report, solid)
    noise = structure_noise(networks, settings.samples, generator).to(networks.device)
    latents = []
    for sample, one in enumerate(noise.split(1)):
        latents.append(
            (yield from sampler.run(flow, contexts, one, condition.structure_start, sample, known))
        )
    return latents


def structure_noise(networks: Networks, samples: int, generator: torch.Generator) -> Tensor:
    """The noise (B, C, r, r, r) that stage 1 starts from, the first that is drawn of a seed."""
    config = networks.config("sparse_structure_flow_model")
    size = (config.in_channels, *(config.resolution,) * 3)
    return torch.randn(samples, *size, generator=generator)


def sample_latents(
    networks: Networks,
    condition: Condition,
    coords: Sequence[Tensor],
    settings: Settings,
    generator: torch.Generator,
    report: Report = silent,
    known: Known | None = None,
    solids: Sequence[SolidGuess | None] = (),
) -> Generator[Step, None, list[Tensor]]:
    """Stage 2, what is on each voxel: normalised latents (L, C) on each sample's voxels (L, 3).

    solids: those that the samples' voxels are the surface of, as far as the model tells.
    """
    yield Step("structured_latent", 0, 1)
    config, most = networks.config("slat_flow_model"), max(len(one) for one in coords)
    require_memory(networks, settings.formats, most)
    networks.begin(
        "structured_latent", flow_working_bytes(most, config.model_channels, networks.dtype.itemsize)
    )
    flow = networks["slat_flow_model"]
    sampler = _Sampler("structured_latent", flow, settings, report)
    contexts = _contexts(flow.context, condition)
    lengths = [len(one) for one in coords]
    noise = torch.randn(sum(lengths), flow.config.in_channels, generator=generator).to(networks.device)
    latents = []
    for sample, (one, rows) in enumerate(zip(coords, noise.split(lengths), strict=True)):
        on_voxels = partial(flow, structure=flow.structure(one))
        own = condition if not solids or solids[sample] is None else replace(condition, solid=solids[sample])
        start = own.latent_start_at(one)
        there = _on_voxels(flow, contexts, own, one, start, known)
        latents.append((yield from sampler.run(on_voxels, there, rows, start, sample, known)))
    return latents


def structure_contexts(flow: nn.Module, condition: Condition, known: Known | None = None) -> Contexts:
    """The contexts of stage 1; a flow with an aligned condition also reads there what it must keep."""
    if not isinstance(flow, AlignedStructureFlowModel):
        return _contexts(flow.context, condition)
    data, kept = _kept_of(known)
    conditional = partial(flow.aligned_context, volume=condition.aligned, data=data, kept=kept)
    null = flow.aligned_context(condition.null, None, data, kept)
    return [conditional(tokens) for tokens in condition.tokens], null


def _on_voxels(
    flow: nn.Module,
    contexts: Contexts,
    condition: Condition,
    coords: Tensor,
    start: Tensor | None,
    known: Known | None,
) -> Contexts:
    """The contexts of stage 2 on voxels (L, 3) that start from latents (L, C): an aligned flow reads there
    what the encoder says of each, and what it must keep.
    """
    if not isinstance(flow, AlignedSLatFlowModel):
        return contexts
    if start is None or condition.aligned is None:
        raise UserError("This model makes the look of an object from a picture's guess; give a picture.")
    hidden = coords.new_zeros(len(coords))
    if condition.outline is not None:
        hidden = condition.outline.behind(coords, flow.config.resolution)
    given = given_on_voxels(start, condition.aligned[:, start.shape[1] :], hidden, coords)
    data, kept = _kept_of(known)
    conditions, null = contexts
    return (
        [flow.on_voxels(one, given, data, kept) for one in conditions],
        flow.on_voxels(null, torch.zeros_like(given), data, kept),
    )


def _kept_of(known: Known | None) -> tuple[Tensor | None, Tensor | None]:
    """The latent of before, and 1 where it is kept; nothing where all is new."""
    return (None, None) if known is None else (known.data, (~known.free).float())


def _contexts(context: Callable[[Tensor], Any], condition: Condition) -> Contexts:
    return [context(tokens) for tokens in condition.tokens], context(condition.null)


class _Sampler:
    """Samples one stage's latents."""

    def __init__(
        self,
        stage: Literal["sparse_structure", "structured_latent"],
        flow: nn.Module,
        settings: Settings,
        report: Report,
        solid: SolidGuess | None = None,
    ) -> None:
        self._solid = solid
        self._stage: Stage = stage
        self._flow = flow
        chosen = settings.structure if stage == "sparse_structure" else settings.latent
        self._settings = chosen
        self._times = timesteps(chosen.steps, chosen.rescale_t, chosen.strength)
        self._modulations = flow.timetable(self._times[:-1])
        self._multi_picture = settings.multi_picture
        self._samples = settings.samples
        self._report = report
        # Both passes of guidance as one batch pay where a pass is too small to fill the device. Voxels differ
        # from object to object, so that the second stage has no batches.
        parallel = flow.engine.compiles or next(flow.parameters()).device.type == "cuda"
        self._one_pass = parallel and stage == "sparse_structure"

    def run(
        self,
        model: ConditionalModel,
        contexts: Contexts,
        noise: Tensor,
        start: Tensor | None,
        sample: int,
        known: Known | None,
    ) -> Generator[Step, None, Tensor]:
        """Integrate one sample from noise, or from a start latent noised to t = strength."""
        settings = self._settings
        velocity = self._velocity(model, *contexts)
        x = self._noised(start, noise)
        done, of = sample * settings.steps, self._samples * settings.steps
        if known is None:
            steps = euler_steps(velocity, x, self._times)
        else:
            steps = known_steps(velocity, x, noise, self._times, known, settings.sigma_min)
        with before_each_layer(self._flow, lambda: self._report(self._stage, done, of)):
            for one in steps:
                x, done = one.after, done + 1
                estimate = predict_x0(one.before, one.t, one.velocity, settings.sigma_min)
                yield Step(self._stage, done, of, sample, x, estimate, self._solid)
        return x

    def _velocity(self, model: ConditionalModel, contexts: list[Any], null: Any) -> Velocity:
        in_turn = len(contexts) == 1 or self._multi_picture == "stochastic"
        if self._one_pass and in_turn and self._settings.cfg_strength != 0.0:
            pairs = [context.beside(null) for context in contexts]
            return guidance_in_one_pass(model, pairs, contexts, self._settings, self._modulations)
        return guided(model, contexts, null, self._settings, self._multi_picture, self._modulations)

    def _noised(self, start: Tensor | None, noise: Tensor) -> Tensor:
        if start is not None:
            return noised(start, noise, self._settings.strength, self._settings.sigma_min)
        if self._settings.strength < 1.0:
            raise UserError("This model has no latent to start from; set the strength to 1.")
        return noise
