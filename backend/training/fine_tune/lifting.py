"""The starter's picture encoder, taught on prepared objects: its guesses of surface, solid and colours.

Its flows only refine what follows from these, so what it does not know, the model does not make.
B batch · R, r resolutions of the structure and of the structured latent · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.lifting.image_encoder import LiftingImageEncoder
from backend.training.encoders import shape_loss, unpacked
from backend.training.fine_tune.flows import Examples
from backend.training.loop import Part
from backend.training.starter.colors import color_loss

_ROWS = ("packed", "packed_solid", "tints", "near")


@dataclass(frozen=True)
class LiftingExamples:
    """pixels (B, 4, S, S) u8 · packed and packed_solid (B, R³ / 8) u8, bits of surface and solid · tints
    (B, 3, r, r, r) u8, the surface's colours where near (B, r, r, r) bool.
    """

    pixels: Tensor
    packed: Tensor
    packed_solid: Tensor
    tints: Tensor
    near: Tensor


def lifting_part(
    module: LiftingImageEncoder, examples: Examples, size: int, seed: int
) -> Part[LiftingExamples]:
    """Shape and colours, each against the truth; `examples` joins pictures with what they show."""
    module.structure_head.encoder.requires_grad_(False)
    module.surface_head.requires_grad_(False)

    def batch(number: int) -> LiftingExamples:
        rng = np.random.default_rng((seed, number))
        drawn = [(entry, k % examples.poses) for entry, k in (examples.draw(rng) for _ in range(size))]
        pixels = torch.stack([examples.conditions.row(entry, "pixels", k) for entry, k in drawn])
        rows = (torch.stack([examples.latents.row(entry, name, k) for entry, k in drawn]) for name in _ROWS)
        return LiftingExamples(pixels, *rows)

    def loss(batch: LiftingExamples, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        pixels = batch.pixels.float() / 255
        planes, volumes = module.lift(pixels)
        logits = module.structure_head.occupancy(volumes[-1])
        solid = unpacked(batch.packed_solid)
        shape, numbers = shape_loss(logits, unpacked(batch.packed), solid)
        color = color_loss(module.colors(pixels, planes, volumes), batch.tints, batch.near)
        return shape + color, {**numbers, "color": color.detach()}

    return Part("lifting", module, batch, loss)
