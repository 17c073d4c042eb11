"""Training of both rectified flows (paper section 3.3), wherever conditions and latents come from.

B batch · L voxels or tokens · C channels · r resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.lifting.aligned_flow import AlignedSLatFlowModel, AlignedStructureFlowModel
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.data.feeding import moved
from backend.training.loop import Part
from backend.training.losses import drop_condition, flow_matching_loss, kept_cells, noised_latent

TIME_SCALE = 1000.0  # the flow models take 1000·t
PRIOR_WEIGHT, PRIOR_RATE, PRIOR_EXAMPLES = 0.2, 3e-3, 128
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class FlowTraining:
    """Flow times are sigmoid(N(mean, std)); a condition is left out with the probability `drop`.

    known: share of the samples of a flow with an aligned condition that are known but for a box, which it
    learns to fill.
    """

    time_mean: float = 1.0
    time_std: float = 1.0
    drop: float = 0.1
    known: float = 0.3


@dataclass(frozen=True)
class StructureExamples:
    """tokens (B, L, C) · latents (B, C, r, r, r) · null (1, L, C), what stands for none; None: zeros ·
    aligned (B, C', r, r, r), for a flow that takes it.
    """

    tokens: Tensor
    latents: Tensor
    null: Tensor | None = None
    aligned: Tensor | None = None

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """What is given of all places, and their latents."""
        assert self.aligned is not None
        return self.aligned, self.latents


@dataclass(frozen=True)
class LatentExamples:
    """tokens (B, L, C) · of each object coords (L, 3) i32 and latents (L, C) · null as above · of each object
    what is given of its voxels (L, C'), for a flow that takes it.
    """

    tokens: Tensor
    coords: tuple[Tensor, ...]
    latents: tuple[Tensor, ...]
    null: Tensor | None = None
    aligned: tuple[Tensor, ...] = ()

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """As above, of all objects together."""
        return torch.cat(self.aligned), torch.cat(self.latents)


def as_it_is(batch: Any) -> Any:
    """For batches that are examples already."""
    return batch


def structure_flow_part(
    module: SparseStructureFlowModel,
    batch: Callable[[int], Batch],
    settings: FlowTraining,
    examples: Callable[[Batch], StructureExamples] = as_it_is,
) -> Part[Batch]:
    """Velocity of the sparse structure's latent; `examples` encodes a batch on the device."""

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        with torch.no_grad():
            given = examples(batch)
        # All may be stored in half precision.
        x0, tokens = given.latents.float(), given.tokens.float()
        x, t, noise = noised_latent(x0, len(x0), settings.time_mean, settings.time_std, generator)
        if not isinstance(module, AlignedStructureFlowModel):
            context = module.context(drop_condition(tokens, settings.drop, generator, given.null))
            velocity = module(x, TIME_SCALE * t, context)
            return flow_matching_loss(velocity, x0, noise), {"time": t.mean()}
        assert given.aligned is not None
        kept = kept_cells(len(x0), x0.shape[-1], settings.known, generator).to(x0.device)
        # Both conditions are left out together.
        state = generator.get_state()
        tokens = drop_condition(tokens, settings.drop, generator, given.null)
        volume = drop_condition(given.aligned.float(), settings.drop, generator.set_state(state))
        velocity = module(x, TIME_SCALE * t, module.aligned_context(tokens, volume, x0, kept))
        error = flow_matching_loss(velocity, x0, noise, kept)
        mean, variance = module.prior(volume)
        doubt = F.gaussian_nll_loss(mean, x0, variance)
        return error + PRIOR_WEIGHT * doubt, {"time": t.mean(), "velocity": error.detach()}

    return Part("structure_flow", module, batch, loss)


def fit_prior(
    module: AlignedStructureFlowModel | AlignedSLatFlowModel,
    pairs: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
) -> None:
    """Fits the distribution that the flow corrects, before the flow begins: it learns fast, and is needed.

    `pairs` gives by number what is said of a latent's places, and the latent.
    """
    optimizer = torch.optim.AdamW(module.prior_head.parameters(), PRIOR_RATE)
    for step in range(steps):
        given, latent = moved(pairs(step % PRIOR_EXAMPLES), next(module.parameters()).device)
        mean, variance = module.prior(given.float())
        optimizer.param_groups[0]["lr"] = PRIOR_RATE * (1 - step / steps)
        optimizer.zero_grad()
        F.gaussian_nll_loss(mean, latent.float(), variance).backward()
        optimizer.step()


def latent_flow_part(
    module: SLatFlowModel,
    batch: Callable[[int], Batch],
    settings: FlowTraining,
    examples: Callable[[Batch], LatentExamples] = as_it_is,
) -> Part[Batch]:
    """Velocity of the structured latent, one object of the batch after the other."""

    def loss(batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        with torch.no_grad():
            given = examples(batch)
        errors = [
            _latent_loss(module, settings, given, number, generator) for number in range(len(given.coords))
        ]
        return torch.stack(errors).mean(), {"voxels": float(sum(map(len, given.coords)))}

    return Part("latent_flow", module, batch, loss)


def _latent_loss(
    module: SLatFlowModel,
    settings: FlowTraining,
    given: LatentExamples,
    number: int,
    generator: torch.Generator,
) -> Tensor:
    """The loss of one object of the examples."""
    coords, x0 = given.coords[number], given.latents[number].float()
    # Both conditions are left out together.
    state = generator.get_state()
    tokens = given.tokens[number : number + 1].float()
    tokens = drop_condition(tokens, settings.drop, generator, given.null)
    x, t, noise = noised_latent(x0, 1, settings.time_mean, settings.time_std, generator)
    context, structure = module.context(tokens), module.structure(coords)
    if not isinstance(module, AlignedSLatFlowModel):
        return flow_matching_loss(module(x, TIME_SCALE * t, context, structure), x0, noise)
    again = torch.Generator().set_state(state)
    aligned = drop_condition(given.aligned[number].float()[None], settings.drop, again)[0]
    cells = kept_cells(1, module.config.resolution, settings.known, generator).to(x0.device)
    kept = cells[0, 0][tuple(coords.long().T)][:, None]
    velocity = module(x, TIME_SCALE * t, module.on_voxels(context, aligned, x0, kept), structure)
    mean, variance = module.prior(aligned)
    error = flow_matching_loss(velocity, x0, noise, kept)
    return error + PRIOR_WEIGHT * F.gaussian_nll_loss(mean, x0, variance)
