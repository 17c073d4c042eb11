"""What generation will hand the decoders: the structure and the latents that the lifting encoder guesses from
pictures. Guessed once, for the networks that guess are at rest.

L voxels · B batch · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.models.lifting_encoder import LiftingImageEncoder
from backend.representations.structure import occupied_voxels
from backend.training.autoencoder_structure import StructureAutoencoder
from backend.training.batches import moved
from backend.training.dataset import ObjectSource, picture
from backend.training.feeding import Feeder, Workers
from backend.training.latent_targets import LatentTargets
from backend.training.recipe import Recipe

_TOGETHER = 16


@dataclass(frozen=True)
class Guess:
    """coords (L, 3) i32 · latents (L, 8) f16, not normalised; both empty where no voxel came out."""

    coords: np.ndarray
    latents: np.ndarray


class Guesses:
    """Guesses by scene number, made when first asked for, or all before there are worker processes."""

    def __init__(
        self,
        recipe: Recipe,
        source: ObjectSource,
        structure: StructureAutoencoder,
        lifting: LiftingImageEncoder,
        latents: LatentTargets,
    ):
        self.recipe = recipe
        self.source = source
        self.structure = structure
        self.lifting = lifting
        self.latents = latents
        self._kept: dict[int, Guess] = {}

    def __call__(self, number: int) -> Guess:
        """The guess for scene `number` of the stored ones."""
        if number not in self._kept:
            (self._kept[number],) = self._guess(self._pixels(number)[None], [number])
        return self._kept[number]

    def fill(self, count: int, workers: Workers) -> None:
        """Makes the guesses 0 … count − 1 on the networks' device, with batches of pictures from workers."""
        groups = [list(range(n, min(n + _TOGETHER, count))) for n in range(0, count, _TOGETHER)]

        def pictures(group: int) -> Tensor:
            return torch.stack([self._pixels(number) for number in groups[group]])

        self._pixels(0)  # what this compiles the workers inherit
        with Feeder(pictures, iter(range(len(groups))), workers) as batches:
            for numbers, pixels in zip(groups, batches, strict=True):
                self._kept |= dict(zip(numbers, self._guess(pixels, numbers), strict=True))

    def _pixels(self, number: int) -> Tensor:
        scene, _ = self.source.scene(number, surface=True)
        return torch.from_numpy(picture(scene, self.recipe.picture_size))

    @torch.no_grad()
    def _guess(self, pixels: Tensor, numbers: list[int]) -> list[Guess]:
        """pixels (B, 3, S, S) of those scenes."""
        device = next(self.lifting.parameters()).device
        lifted = self.lifting(moved(pixels, device))
        logits = self.structure.decoder(lifted.structure_start)
        return [
            self._taken(number, one, latent)
            for number, one, latent in zip(numbers, logits[:, 0], lifted.latent_start, strict=True)
        ]

    def _taken(self, number: int, logits: Tensor, latent: Tensor) -> Guess:
        shift = np.random.default_rng((self.recipe.latent_pool, number)).uniform(*self.recipe.guessed_shift)
        coords = occupied_voxels(logits + shift, self.recipe.resolution)
        x, y, z = coords.long().unbind(1)
        guessed = self.latents.restore(latent[:, x, y, z].T)
        return Guess(coords.int().cpu().numpy(), guessed.half().cpu().numpy())
