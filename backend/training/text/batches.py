"""What the text parts learn from: sentences, and the structures or structured latents that they are about.

Everything about a batch follows from (seed, step). B batch · L tokens or voxels · C channels · R, r
resolutions of the structure and of its latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from backend.training.encoders import unpacked
from backend.training.text.captions import COLORS
from backend.training.text.latents import VARIANTS, StoredLatents
from backend.training.text.recipe import TextRecipe
from backend.training.text.sentences import Sentences
from backend.training.text.structures import Structures

COLORED = 0.4  # share of sentences that name a colour, of those that need not


@dataclass(frozen=True)
class ShapeBatch:
    """tokens (B, L, C) · packed, packed_solid (B, R³ / 8) u8 bits of surface and solid."""

    tokens: Tensor
    packed: Tensor
    packed_solid: Tensor

    @cached_property
    def occupied(self) -> Tensor:
        """(B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed)

    @cached_property
    def solid(self) -> Tensor:
        """(B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed_solid)


@dataclass(frozen=True)
class CodeBatch:
    """tokens (B, L, C) · latents of the structure (B, Cz, r, r, r)."""

    tokens: Tensor
    latents: Tensor


@dataclass(frozen=True)
class LatentBatch:
    """tokens (B, L, C) · of each object coords (L, 3) i32, latents (L, 8) and colours tints (L, 3) u8."""

    tokens: Tensor
    coords: tuple[Tensor, ...]
    latents: tuple[Tensor, ...]
    tints: tuple[Tensor, ...]


def shape_batch(
    recipe: TextRecipe, sentences: Sentences, structures: Structures, step: int, size: int
) -> ShapeBatch:
    """`size` sentences and the structures that they are about, whatever colour they name."""
    said, numbers = _shapes(recipe, sentences, step, size)
    packed, packed_solid = structures.packed[numbers], structures.packed_solid[numbers]
    return ShapeBatch(sentences.tokens(said), packed, packed_solid)


def code_batch(
    recipe: TextRecipe, sentences: Sentences, structures: Structures, step: int, size: int
) -> CodeBatch:
    """`size` sentences and the latents of the structures that they are about."""
    said, numbers = _shapes(recipe, sentences, step, size)
    return CodeBatch(sentences.tokens(said), structures.latents[numbers].float())


def _shapes(recipe: TextRecipe, sentences: Sentences, step: int, size: int) -> tuple[list[str], list[int]]:
    said, numbers = [], []
    for index in range(size):
        rng = np.random.default_rng((recipe.seed, step, index))
        words, number = sentences.draw(rng)
        if rng.random() < COLORED:
            words = f"{rng.choice(list(COLORS))} {words}"
        said.append(sentences.say(words, rng))
        numbers.append(number)
    return said, numbers


def latent_batch(
    recipe: TextRecipe,
    sentences: Sentences,
    latents: StoredLatents,
    step: int,
    size: int,
) -> LatentBatch:
    """`size` sentences and the structured latents that they are about; what is painted is called so."""
    said, chosen = [], []
    for index in range(size):
        rng = np.random.default_rng((recipe.seed, step, index))
        words, number = sentences.draw(rng)
        variant = int(rng.integers(VARIANTS))
        one = VARIANTS * number + variant
        if variant > 0 or rng.random() < COLORED:
            words = f"{latents.colors[one]} {words}"
        said.append(sentences.say(words, rng))
        chosen.append(latents.of(one))
    coords, codes, tints = zip(*chosen, strict=True)
    return LatentBatch(sentences.tokens(said), tuple(coords), tuple(codes), tuple(tints))
