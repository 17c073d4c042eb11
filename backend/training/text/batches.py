"""What the text parts learn from: sentences, and the structures or structured latents that they are about.

Everything about a batch follows from (seed, step). B batch · L tokens or voxels · C channels.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from backend.training.encoders import ShapeBatch
from backend.training.flows import LatentExamples, StructureExamples
from backend.training.text.captions import COLORS
from backend.training.text.objects import VARIANTS, Objects
from backend.training.text.sentences import Sentences

COLORED = 0.4  # share of sentences that name a colour, of those that need not


@dataclass(frozen=True)
class ColoredExamples(LatentExamples):
    """Also of each object the surface's colours, tints (L, 3) u8."""

    tints: tuple[Tensor, ...] = ()

    @property
    def given(self) -> Tensor:
        """The tokens."""
        return self.tokens


@dataclass(frozen=True)
class Examples:
    """Batches by step and size."""

    sentences: Sentences
    objects: Objects
    seed: int

    def shapes(self, step: int, size: int) -> ShapeBatch:
        """Sentences and the structures that they are about, whatever colour they name."""
        said, numbers = self._shapes(step, size)
        (packed_solid,) = self.objects.structures(numbers, "packed_solid")
        return ShapeBatch(self.sentences.tokens(said), self.objects.packed[numbers], packed_solid)

    def structures(self, step: int, size: int) -> StructureExamples:
        """Sentences and the latents of the structures that they are about."""
        said, numbers = self._shapes(step, size)
        (latents,) = self.objects.structures(numbers, "latents")
        return StructureExamples(self.sentences.tokens(said), latents.float(), self.sentences.tokens([""]))

    def latents(self, step: int, size: int) -> ColoredExamples:
        """Sentences and the structured latents that they are about; what is painted is called so."""
        said, chosen = [], []
        for index in range(size):
            rng = np.random.default_rng((self.seed, step, index))
            words, number = self.sentences.draw(rng)
            variant = int(rng.integers(VARIANTS))
            if variant > 0 or rng.random() < COLORED:
                words = f"{self.objects.color(number, variant)} {words}"
            said.append(self.sentences.say(words, rng))
            chosen.append(self.objects.latents(number, variant))
        coords, latents, tints = zip(*chosen, strict=True)
        tokens, null = self.sentences.tokens(said), self.sentences.tokens([""])
        return ColoredExamples(tokens, coords, tuple(one.float() for one in latents), null, tints=tints)

    def _shapes(self, step: int, size: int) -> tuple[list[str], list[int]]:
        said, numbers = [], []
        for index in range(size):
            rng = np.random.default_rng((self.seed, step, index))
            words, number = self.sentences.draw(rng)
            if rng.random() < COLORED:
                words = f"{rng.choice(list(COLORS))} {words}"
            said.append(self.sentences.say(words, rng))
            numbers.append(number)
        return said, numbers
