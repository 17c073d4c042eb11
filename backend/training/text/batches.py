"""What the text parts learn from: sentences, codes, and the structures or structured latents they are about.

Everything about a batch follows from (seed, step). B batch · L tokens or voxels · C channels · K numbers of a
code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from backend.geometry.mesh_files import group_weights
from backend.training.encoders import ShapeBatch
from backend.training.flows import LatentExamples, StructureExamples
from backend.training.text.codes import Codes
from backend.training.text.objects import VARIANTS, Objects
from backend.training.text.sentences import Sentences

COLORED = 0.4  # share of sentences that name a colour, of those that need not
NEAR = 0.1  # deviation of the codes that stand for one object: drawn ones never are quite those of training


@dataclass(frozen=True)
class ColoredObjects:
    """given (B, K), codes · of each object coords (L, 3) i32 and the surface's colours, tints (L, 3) u8."""

    given: Tensor
    coords: tuple[Tensor, ...]
    tints: tuple[Tensor, ...]


@dataclass(frozen=True)
class CodeExamples:
    """tokens (B, 1, C), each of a whole sentence · codes (B, K) of objects that they may be about."""

    tokens: Tensor
    codes: Tensor


@dataclass(frozen=True)
class Examples:
    """Batches by step and size."""

    sentences: Sentences
    objects: Objects
    codes: Codes
    seed: int

    def shapes(self, step: int, size: int) -> ShapeBatch:
        """Codes and the structures that they stand for."""
        numbers, given = self._coded(step, size)
        (packed_solid,) = self.objects.structures([number for number, _ in numbers], "packed_solid")
        return ShapeBatch(given, self.objects.packed[[number for number, _ in numbers]], packed_solid)

    def colors(self, step: int, size: int) -> ColoredObjects:
        """Codes and the colours that they stand for."""
        numbers, given = self._coded(step, size)
        coords, _, tints = zip(*(self.objects.latents(*one) for one in numbers), strict=True)
        return ColoredObjects(given, coords, tints)

    def meanings(self, step: int, size: int) -> CodeExamples:
        """Sentences and codes of what they are about; what is painted is called so."""
        said, chosen = zip(*self._said(step, size), strict=True)
        return CodeExamples(self.sentences.whole(said), torch.stack([self.codes.of(*one) for one in chosen]))

    def structures(self, step: int, size: int) -> StructureExamples:
        """Sentences and the latents of the structures that they are about."""
        said, chosen = zip(*self._said(step, size), strict=True)
        (latents,) = self.objects.structures([number for number, _ in chosen], "latents")
        return StructureExamples(self.sentences.tokens(said), latents.float(), self.sentences.tokens([""]))

    def latents(self, step: int, size: int) -> LatentExamples:
        """Sentences and the structured latents that they are about."""
        said, chosen = zip(*self._said(step, size), strict=True)
        coords, latents, _ = zip(*(self.objects.latents(*one) for one in chosen), strict=True)
        tokens, null = self.sentences.tokens(said), self.sentences.tokens([""])
        return LatentExamples(tokens, coords, tuple(one.float() for one in latents), null)

    def _said(self, step: int, size: int) -> Iterator[tuple[str, tuple[int, int]]]:
        """Sentences, and the number and variant of the object that each is about."""
        for index in range(size):
            rng = np.random.default_rng((self.seed, step, index))
            words, number = self.sentences.draw(rng)
            variant = int(rng.integers(VARIANTS))
            if variant > 0 or rng.random() < COLORED:
                words = f"{self.objects.color(number, variant)} {words}"
            yield self.sentences.say(words, rng), (number, variant)

    def _coded(self, step: int, size: int) -> tuple[list[tuple[int, int]], Tensor]:
        """Numbers and variants of objects, every group of which comes equally often, and codes of each."""
        rng = np.random.default_rng((self.seed, step))
        numbers = np.minimum(np.searchsorted(self._share, rng.random(size)), len(self._share) - 1)
        chosen = [(int(number), int(rng.integers(VARIANTS))) for number in numbers]
        codes = torch.stack([self.codes.of(*one) for one in chosen])
        return chosen, codes + NEAR * codes.std() * torch.from_numpy(rng.normal(size=codes.shape)).float()

    @cached_property
    def _share(self) -> np.ndarray:
        return np.cumsum(group_weights(self.objects.entries))
