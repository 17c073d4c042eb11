"""The starter's picture encoder, taught on prepared objects: its guesses of both latents.

Its flows only refine these guesses, so what it does not know, the model does not make. B batch · L voxels ·
C channels · r resolution · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.models.lifting_encoder import LiftingImageEncoder
from backend.models.occupancy_guess import OccupancyGuess
from backend.training.fine_tune_flows import Examples
from backend.training.fine_tune_records import Records
from backend.training.lifting import unpacked
from backend.training.loop import Part
from backend.training.losses import occupancy_loss

DECODED_WEIGHT = 0.1


@dataclass(frozen=True)
class LiftingExamples:
    """pixels (B, 3, S, S) u8 · structures (B, C, r, r, r) · packed (B, R³ / 8) u8, their occupancies.

    Of each object coords (L, 3) i32 and latents (L, C).
    """

    pixels: Tensor
    structures: Tensor
    packed: Tensor
    coords: tuple[Tensor, ...]
    latents: tuple[Tensor, ...]


def lifting_part(
    module: LiftingImageEncoder,
    decoder: nn.Module,
    examples: Examples,
    structures: Records,
    size: int,
    seed: int,
) -> Part[LiftingExamples]:
    """Both guesses: the structured latent against the true one, the structure against the true occupancy.

    An encoder that guesses the structure's latent itself is also held to that; the frozen `decoder` then
    shows its occupancy.
    """
    if isinstance(module.structure_head, OccupancyGuess):
        module.structure_head.encoder.requires_grad_(False)

    def batch(number: int) -> LiftingExamples:
        rng = np.random.default_rng((seed, number))
        drawn = [(entry, k % examples.poses) for entry, k in (examples.draw(rng) for _ in range(size))]
        latents = [examples.latents.read(entry, f"coords.{k}", f"latent.{k}") for entry, k in drawn]
        return LiftingExamples(
            torch.stack([examples.conditions.row(entry, "pixels", k) for entry, k in drawn]),
            torch.stack([structures.row(entry, "latents", k) for entry, k in drawn]),
            torch.stack([structures.row(entry, "packed", k) for entry, k in drawn]),
            tuple(one[f"coords.{k}"] for one, (_, k) in zip(latents, drawn, strict=True)),
            tuple(one[f"latent.{k}"] for one, (_, k) in zip(latents, drawn, strict=True)),
        )

    def loss(batch: LiftingExamples, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        planes, volumes = module.lift(batch.pixels.float() / 255)
        head, occupied = module.structure_head, unpacked(batch.packed)
        if isinstance(head, OccupancyGuess):
            structure = occupancy_loss(head.occupancy(volumes[-1]), occupied)
        else:
            start = head(volumes[-1]).float()
            decoded = occupancy_loss(decoder(start).float(), occupied)
            structure = F.mse_loss(start, batch.structures) + DECODED_WEIGHT * decoded
        latent = _latent_error(module.latent(planes, volumes).float(), batch)
        return structure + latent, {"structure": structure.detach(), "latent": latent.detach()}

    return Part("lifting", module, batch, loss)


def _latent_error(volume: Tensor, batch: LiftingExamples) -> Tensor:
    """Mean squared error of the volume (B, C, R, R, R) on each object's voxels, objects weighing the same."""
    errors = []
    for one, coords, latent in zip(volume, batch.coords, batch.latents, strict=True):
        x, y, z = coords.long().unbind(1)
        errors.append(F.mse_loss(one[:, x, y, z].T, latent))
    return torch.stack(errors).mean()
