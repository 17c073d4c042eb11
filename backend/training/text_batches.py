"""What the text parts learn from: sentences, and the structures or structured latents that they are about.

Everything about a batch follows from (seed, step). B batch · L tokens or voxels · C channels · R, r
resolutions of the structure and of its latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from backend.training.text_captions import COLORS
from backend.training.text_latents import VARIANTS, StoredLatents
from backend.training.text_recipe import TextRecipe
from backend.training.text_sentences import Sentences
from backend.training.text_structures import Structures

COLORED = 0.4  # share of sentences that name a colour, of those that need not


@dataclass(frozen=True)
class ShapeBatch:
    """tokens (B, L, C) · latents (B, Cz, r, r, r) · occupied (b, 1, R, R, R) of the first few."""

    tokens: Tensor
    latents: Tensor
    occupied: Tensor


@dataclass(frozen=True)
class LatentBatch:
    """tokens (B, L, C) · latents of the structures (B, Cz, r, r, r) · of each object coords (L, 3) i32 and
    latents (L, 8).
    """

    tokens: Tensor
    structures: Tensor
    coords: tuple[Tensor, ...]
    latents: tuple[Tensor, ...]


def shape_batch(
    recipe: TextRecipe, sentences: Sentences, structures: Structures, step: int, size: int
) -> ShapeBatch:
    """`size` sentences and the structures that they are about, whatever colour they name."""
    said, numbers = [], []
    for index in range(size):
        rng = np.random.default_rng((recipe.seed, step, index))
        words, number = sentences.draw(rng)
        if rng.random() < COLORED:
            words = f"{rng.choice(list(COLORS))} {words}"
        said.append(sentences.say(words, rng))
        numbers.append(number)
    occupied = structures.occupied(numbers[: recipe.decoded])
    return ShapeBatch(sentences.tokens(said), structures.latents[numbers].float(), occupied)


def latent_batch(
    recipe: TextRecipe,
    sentences: Sentences,
    structures: Structures,
    latents: StoredLatents,
    step: int,
    size: int,
) -> LatentBatch:
    """`size` sentences and the structured latents that they are about; what is painted is called so."""
    said, numbers, chosen = [], [], []
    for index in range(size):
        rng = np.random.default_rng((recipe.seed, step, index))
        words, number = sentences.draw(rng)
        variant = int(rng.integers(VARIANTS))
        one = VARIANTS * number + variant
        if variant > 0 or rng.random() < COLORED:
            words = f"{latents.colors[one]} {words}"
        said.append(sentences.say(words, rng))
        numbers.append(number)
        chosen.append(latents.of(one))
    coords, codes = zip(*chosen, strict=True)
    shapes = structures.latents[numbers].float()
    return LatentBatch(sentences.tokens(said), shapes, tuple(coords), tuple(codes))
