"""Both flows of an existing model, taught on prepared objects (flow matching, paper section 3.3).

B batch · L voxels or tokens · C channels · r resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.geometry.mesh_files import Entry, group_weights
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.data.batches import moved
from backend.training.data.records import Records
from backend.training.flows import TIME_SCALE
from backend.training.loop import Part
from backend.training.losses import drop_condition, flow_matching_loss, noised_latent

FIXED_BATCHES = 8
_FIRST_FIXED = 10**8  # far from the numbers that training sees


@dataclass(frozen=True)
class FlowTraining:
    """Flow times are sigmoid(N(mean, std)); a condition is left out with the probability `drop`."""

    time_mean: float = 1.0
    time_std: float = 1.0
    drop: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """Prepared objects: records of what is given (pictures or sentences) and of what is to be made of it."""

    entries: tuple[Entry, ...]
    conditions: Records
    latents: Records
    poses: int

    def draw(self, rng: np.random.Generator) -> tuple[Entry, int]:
        """An object, every group of shape variants equally often, and the number of one of its conditions."""
        number = int(rng.choice(len(self.entries), p=group_weights(self.entries)))
        return self.entries[number], int(rng.integers(1 << 20))


@dataclass(frozen=True)
class StructureExamples:
    """tokens (B, L, C) · null (1, L, C) · latents (B, C, r, r, r)."""

    tokens: Tensor
    null: Tensor
    latents: Tensor


@dataclass(frozen=True)
class LatentExample:
    """One object: tokens (1, L, C) · null (1, L, C) · coords (L, 3) i32 · latent (L, C)."""

    tokens: Tensor
    null: Tensor
    coords: Tensor
    latent: Tensor


def structure_flow_part(
    module: SparseStructureFlowModel, examples: Examples, size: int, settings: FlowTraining
) -> Part[StructureExamples]:
    """Velocity of the sparse structure's latent, `size` objects a batch."""

    def batch(number: int) -> StructureExamples:
        rng = np.random.default_rng((settings.seed, number))
        drawn = [examples.draw(rng) for _ in range(size)]
        tokens = torch.stack([examples.conditions.row(entry, "tokens", k) for entry, k in drawn])
        latents = [examples.latents.row(entry, "latents", k % examples.poses) for entry, k in drawn]
        null = examples.conditions.read(drawn[0][0], "null")["null"]
        return StructureExamples(tokens, null, torch.stack(latents))

    def loss(batch: StructureExamples, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        x0 = batch.latents
        x, t, noise = noised_latent(x0, len(x0), settings.time_mean, settings.time_std, generator)
        # Conditions are stored in half precision.
        tokens = drop_condition(batch.tokens.float(), settings.drop, generator, batch.null)
        context = module.context(tokens)
        error = flow_matching_loss(module(x, TIME_SCALE * t, context), x0, noise)
        return error, {"time": t.mean()}

    return Part("structure_flow", module, batch, loss)


def latent_flow_part(
    module: SLatFlowModel, examples: Examples, settings: FlowTraining
) -> Part[LatentExample]:
    """Velocity of the structured latent, one object a batch."""

    def batch(number: int) -> LatentExample:
        entry, k = examples.draw(np.random.default_rng((settings.seed, number)))
        names = [f"{name}.{k % examples.poses}" for name in ("coords", "latent")]
        coords, latent = examples.latents.read(entry, *names).values()
        null = examples.conditions.read(entry, "null")["null"]
        tokens = examples.conditions.row(entry, "tokens", k)
        return LatentExample(tokens[None], null, coords, latent)

    def loss(batch: LatentExample, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        x, t, noise = noised_latent(batch.latent, 1, settings.time_mean, settings.time_std, generator)
        # Conditions are stored in half precision.
        tokens = drop_condition(batch.tokens.float(), settings.drop, generator, batch.null)
        context = module.context(tokens)
        velocity = module(x, TIME_SCALE * t, context, module.structure(batch.coords))
        return flow_matching_loss(velocity, batch.latent, noise), {"voxels": len(batch.coords)}

    return Part("latent_flow", module, batch, loss)


@torch.no_grad()
def fixed_loss(part: Part, device: torch.device, bfloat16: bool, batches: int = FIXED_BATCHES) -> float:
    """The part's loss on examples, times and noise that are always the same and that training never draws."""
    was_training = part.module.training
    part.module.to(device).eval()
    total = 0.0
    for number in range(_FIRST_FIXED, _FIRST_FIXED + batches):
        generator = torch.Generator().manual_seed(number)
        batch = moved(
            part.batch(number), device
        )  # outside of autocast, which cannot stack fp16 on a processor
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            total += float(part.loss(batch, generator)[0])
    part.module.train(was_training)
    return total / batches
