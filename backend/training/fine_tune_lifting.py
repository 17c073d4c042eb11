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
from backend.training.fine_tune_flows import Examples
from backend.training.fine_tune_records import Records
from backend.training.loop import Part
from backend.training.losses import occupancy_loss

DECODED_WEIGHT = 0.1


@dataclass(frozen=True)
class LiftingExamples:
    """pixels (B, 3, S, S) u8 · structures (B, C, r, r, r) · each object's coords (L, 3) and latent (L, C)."""

    pixels: Tensor
    structures: Tensor
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
    """Both guesses against the latents; that of the structure also as the frozen `decoder` shows it."""

    def batch(number: int) -> LiftingExamples:
        rng = np.random.default_rng((seed, number))
        drawn = [(entry, k % examples.poses) for entry, k in (examples.draw(rng) for _ in range(size))]
        latents = [examples.latents.read(entry, f"coords.{k}", f"latent.{k}") for entry, k in drawn]
        return LiftingExamples(
            torch.stack([examples.conditions.row(entry, "pixels", k) for entry, k in drawn]),
            torch.stack([structures.row(entry, "latents", k) for entry, k in drawn]),
            tuple(one[f"coords.{k}"] for one, (_, k) in zip(latents, drawn, strict=True)),
            tuple(one[f"latent.{k}"] for one, (_, k) in zip(latents, drawn, strict=True)),
        )

    def loss(batch: LiftingExamples, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        lifted = module(batch.pixels.float() / 255)
        structure = F.mse_loss(lifted.structure_start, batch.structures)
        with torch.no_grad():
            shape = decoder(batch.structures).float().sigmoid()
        decoded = occupancy_loss(decoder(lifted.structure_start).float(), shape)
        latent = _latent_error(lifted.latent_start, batch)
        numbers = {"structure": structure.detach(), "decoded": decoded.detach(), "latent": latent.detach()}
        return structure + latent + DECODED_WEIGHT * decoded, numbers

    return Part("lifting", module, batch, loss)


def _latent_error(volume: Tensor, batch: LiftingExamples) -> Tensor:
    """Mean squared error of the volume (B, C, R, R, R) on each object's voxels, objects weighing the same."""
    errors = []
    for one, coords, latent in zip(volume, batch.coords, batch.latents, strict=True):
        x, y, z = coords.long().unbind(1)
        errors.append(F.mse_loss(one[:, x, y, z].T, latent))
    return torch.stack(errors).mean()
