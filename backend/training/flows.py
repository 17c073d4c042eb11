"""Training of both rectified flows (paper section 3.3), wherever conditions and latents come from.

B batch · L voxels or tokens · C channels · r resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.loop import Part
from backend.training.losses import drop_condition, flow_matching_loss, noised_latent

TIME_SCALE = 1000.0  # the flow models take 1000·t
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class FlowTraining:
    """Flow times are sigmoid(N(mean, std)); a condition is left out with the probability `drop`."""

    time_mean: float = 1.0
    time_std: float = 1.0
    drop: float = 0.1


@dataclass(frozen=True)
class StructureExamples:
    """tokens (B, L, C) · latents (B, C, r, r, r) · null (1, L, C), what stands for none; None: zeros."""

    tokens: Tensor
    latents: Tensor
    null: Tensor | None = None


@dataclass(frozen=True)
class LatentExamples:
    """tokens (B, L, C) · of each object coords (L, 3) i32 and latents (L, C) · null as above."""

    tokens: Tensor
    coords: tuple[Tensor, ...]
    latents: tuple[Tensor, ...]
    null: Tensor | None = None


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
        x0 = given.latents
        x, t, noise = noised_latent(x0, len(x0), settings.time_mean, settings.time_std, generator)
        # Conditions may be stored in half precision.
        tokens = drop_condition(given.tokens.float(), settings.drop, generator, given.null)
        velocity = module(x, TIME_SCALE * t, module.context(tokens))
        return flow_matching_loss(velocity, x0, noise), {"time": t.mean()}

    return Part("structure_flow", module, batch, loss)


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
        tokens = drop_condition(given.tokens.float(), settings.drop, generator, given.null)
        errors = []
        for one, coords, x0 in zip(tokens, given.coords, given.latents, strict=True):
            x, t, noise = noised_latent(x0, 1, settings.time_mean, settings.time_std, generator)
            velocity = module(x, TIME_SCALE * t, module.context(one[None]), module.structure(coords))
            errors.append(flow_matching_loss(velocity, x0, noise))
        return torch.stack(errors).mean(), {"voxels": float(sum(map(len, given.coords)))}

    return Part("latent_flow", module, batch, loss)
