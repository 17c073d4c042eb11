"""Which sentence is about which objects, and how often it is said in training.

"a chair" is true of all chairs, but a network that learns their mean learns a blur. So a phrase mostly stands
for the most typical of its objects, the one that overlaps the others best; longer ones tell the rest apart.
N objects · B batch · L tokens · C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.geometry.mesh_files import Entry, group_weights
from backend.models.minilm_text import MiniLmText, fill
from backend.training.encoders import unpacked
from backend.training.text.captions import TEMPLATES, names, phrase

TYPICAL = 60.0  # how much rarer an object is in its phrase for an overlap that is less by 1
COMMON = 0.5  # a phrase of N objects is said N^COMMON times as often as one of a single object
BRIEF = 2.0  # and one of N words N^BRIEF times less often than one of a single word, as people speak
PLAIN = 0.5  # share of sentences in the first template, "a chair"
_COARSE = 16


@dataclass(frozen=True)
class Phrase:
    """Words, the numbers of the objects they are true of, and the share in which they stand for each."""

    words: str
    objects: np.ndarray
    weights: np.ndarray


class Sentences:
    """Draws pairs of a sentence and an object, and encodes sentences, each once."""

    def __init__(self, entries: Sequence[Entry], packed: Tensor, encoder: MiniLmText):
        self.phrases = phrases(entries, packed)
        said = np.array([_said(one) for one in self.phrases])
        self._cumulative = np.cumsum(said / said.sum())
        self._encoder = encoder
        self._words: dict[str, Tensor] = {}

    def draw(self, rng: np.random.Generator) -> tuple[str, int]:
        """A phrase and the number of the object that it stands for this time."""
        number = min(int(np.searchsorted(self._cumulative, rng.random())), len(self.phrases) - 1)
        chosen = self.phrases[number]
        return chosen.words, int(rng.choice(chosen.objects, p=chosen.weights))

    def say(self, words: str, rng: np.random.Generator) -> str:
        """The phrase as somebody would type it."""
        return phrase(words, 0 if rng.random() < PLAIN else int(rng.integers(len(TEMPLATES))))

    def tokens(self, sentences: Sequence[str]) -> Tensor:
        """(B, L, C) f32."""
        new = [one for one in dict.fromkeys(sentences) if one not in self._words]
        if new:
            with torch.no_grad():
                encoded = [one.to(torch.float16) for one in self._encoder.words(new)]
            self._words |= dict(zip(new, encoded, strict=True))
        return torch.stack([fill(self._words[one].float()) for one in sentences])


def _said(phrase: Phrase) -> float:
    """How often, in proportion."""
    return len(phrase.objects) ** COMMON / len(phrase.words.split()) ** BRIEF


def phrases(entries: Sequence[Entry], packed: Tensor) -> list[Phrase]:
    """Every phrase that is true of some object: its kind, the kind's last word, and its kind told apart."""
    objects: dict[str, set[int]] = {}
    for number, entry in enumerate(entries):
        name = names(entry)
        for words in (name.kind, name.kind.rpartition(" ")[2], name.words):
            objects.setdefault(words, set()).add(number)
    share = group_weights(tuple(entries))
    coarse = _coarse(packed)
    made = []
    for words, numbers in objects.items():
        chosen = np.array(sorted(numbers))
        weights = share[chosen] * np.exp(TYPICAL * _typicality(coarse[chosen]))
        made.append(Phrase(words, chosen, weights / weights.sum()))
    return made


def _coarse(packed: Tensor) -> np.ndarray:
    """(N, R³ / 8) bits of surfaces -> (N, 16³) f32, 1 where any voxel is occupied, for near misses."""
    pools = []
    for some in packed.split(64):
        occupied = unpacked(some)
        pools.append(F.max_pool3d(occupied, max(occupied.shape[-1] // _COARSE, 1)).flatten(1))
    return torch.cat(pools).numpy()


def _typicality(coarse: np.ndarray) -> np.ndarray:
    """(n, cells) in {0, 1} -> (n,) mean overlap with all, at most 0 (for the most typical one)."""
    both = coarse @ coarse.T
    sizes = coarse.sum(1)
    overlap = (both / np.maximum(sizes[:, None] + sizes - both, 1)).mean(1)
    return overlap - overlap.max()
