"""Batches for fine-tuning: prepared objects by number, and the fixed ones that are measured on.

B batch · L voxels or tokens · C channels · r resolution.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.geometry.mesh_files import Entry, group_weights
from backend.machine.device import mixed_precision
from backend.training.data.feeding import moved
from backend.training.data.records import Records
from backend.training.encoders import PictureBatch
from backend.training.flows import LatentExamples, StructureExamples
from backend.training.loop import Part

FIXED_BATCHES = 8
_FIRST_FIXED = 10**8  # far from the numbers that training sees
_ROWS = ("packed", "packed_solid", "tints", "near")


@dataclass(frozen=True)
class Examples:
    """Prepared objects: records of what is given (pictures or sentences) and of what is to be made of it."""

    entries: tuple[Entry, ...]
    conditions: Records
    latents: Records
    poses: int
    seed: int

    def pictures(self, number: int, size: int) -> PictureBatch:
        """Pictures with surface, solid and colours."""
        drawn = [(entry, k % self.poses) for entry, k in self._draw(number, size)]
        pixels = torch.stack([self.conditions.row(entry, "pixels", k) for entry, k in drawn])
        rows = (torch.stack([self.latents.row(entry, name, k) for entry, k in drawn]) for name in _ROWS)
        return PictureBatch(pixels, *rows)

    def structures(self, number: int, size: int, with_aligned: bool = False) -> StructureExamples:
        """Conditions with latents of the structure, and for a flow that takes it the aligned condition."""
        drawn = self._draw(number, size)
        tokens, null = self._conditions(drawn)
        latents = [self.latents.row(entry, "latents", k % self.poses) for entry, k in drawn]
        if not with_aligned:
            return StructureExamples(tokens, torch.stack(latents), null)
        aligned = torch.stack([self.conditions.row(entry, "aligned", k) for entry, k in drawn])
        return StructureExamples(tokens, torch.stack(latents), null, aligned)

    def latent(self, number: int, with_aligned: bool = False) -> LatentExamples:
        """A condition with the structured latent of its object, and what is given of its voxels."""
        drawn = self._draw(number, 1)
        tokens, null = self._conditions(drawn)
        ((entry, k),) = drawn
        pose = k % self.poses
        coords, latent = self.latents.read(entry, f"coords.{pose}", f"latent.{pose}")
        given = self.latents.read(entry, f"given.{pose}") if with_aligned else ()
        return LatentExamples(tokens, (coords,), (latent,), null, given)

    def _conditions(self, drawn: list[tuple[Entry, int]]) -> tuple[Tensor, Tensor]:
        tokens = torch.stack([self.conditions.row(entry, "tokens", k) for entry, k in drawn])
        return tokens, self.conditions.read(drawn[0][0], "null")[0]

    def _draw(self, number: int, size: int) -> list[tuple[Entry, int]]:
        """Objects, every group of shape variants equally often, and the numbers of conditions of theirs."""
        rng = np.random.default_rng((self.seed, number))
        weights = group_weights(self.entries)
        return [
            (self.entries[int(rng.choice(len(self.entries), p=weights))], int(rng.integers(1 << 20)))
            for _ in range(size)
        ]


@torch.no_grad()
def fixed_loss(part: Part, device: torch.device, bfloat16: bool, batches: int = FIXED_BATCHES) -> float:
    """The part's loss on examples, times and noise that are always the same and that training never draws."""
    was_training = part.module.training
    part.module.to(device).eval()
    total = 0.0
    for number in range(_FIRST_FIXED, _FIRST_FIXED + batches):
        generator = torch.Generator().manual_seed(number)
        batch = moved(part.batch(number), device)  # autocast cannot stack fp16 on a processor
        with mixed_precision(device, bfloat16):
            total += float(part.loss(batch, generator)[0])
    part.module.train(was_training)
    return total / batches
