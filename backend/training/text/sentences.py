"""Which sentence is about which objects, and how often it is said in training.

"a chair" is true of all chairs; longer phrases tell some apart. N objects · B batch · L tokens · C channels.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.geometry.mesh_files import Entry, group_weights
from backend.models.minilm_text import MiniLmText, fill
from backend.training.text.captions import TEMPLATES, names, phrase

COMMON = 0.5  # a phrase of N objects is said N^COMMON times as often as one of a single object
BRIEF = 2.0  # and one of N words N^BRIEF times less often than one of a single word, as people speak
PLAIN = 0.5  # share of sentences in the first template, "a chair"


@dataclass(frozen=True)
class Phrase:
    """Words, the numbers of the objects they are true of, and the share in which they stand for each."""

    words: str
    objects: np.ndarray
    weights: np.ndarray


class Sentences:
    """Draws pairs of a sentence and an object, and encodes sentences, each once."""

    def __init__(self, entries: Sequence[Entry], encoder: MiniLmText):
        self.phrases = phrases(entries)
        said = np.array([_said(one) for one in self.phrases])
        self._cumulative = np.cumsum(said / said.sum())
        self._encoder = encoder
        self._words: dict[str, Tensor] = {}
        self._whole: dict[str, Tensor] = {}

    def draw(self, rng: np.random.Generator) -> tuple[str, int]:
        """A phrase and the number of the object that it stands for this time."""
        number = min(int(np.searchsorted(self._cumulative, rng.random())), len(self.phrases) - 1)
        chosen = self.phrases[number]
        return chosen.words, int(rng.choice(chosen.objects, p=chosen.weights))

    def say(self, words: str, rng: np.random.Generator) -> str:
        """The phrase as somebody would type it: plain, or in one template, so that few must be encoded."""
        return phrase(words, 0 if rng.random() < PLAIN else zlib.crc32(words.encode()) % len(TEMPLATES))

    def tokens(self, sentences: Sequence[str]) -> Tensor:
        """(B, L, C) f32."""
        return torch.stack([fill(one.float()) for one in self._encoded(self._words, sentences, _all)])

    def whole(self, sentences: Sequence[str]) -> Tensor:
        """The token of each that stands for all its words, their mean: (B, 1, C) f32."""
        return torch.stack([one.float() for one in self._encoded(self._whole, sentences, _mean)])

    def _encoded(
        self, known: dict[str, Tensor], sentences: Sequence[str], kept: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """What is kept of each sentence's words (L, C), in half precision, encoded where it is not known."""
        new = [one for one in dict.fromkeys(sentences) if one not in known]
        if new:
            with torch.no_grad():
                encoded = [kept(one).half() for one in self._encoder.words(new)]
            known |= dict(zip(new, encoded, strict=True))
        return [known[one] for one in sentences]


def _all(words: Tensor) -> Tensor:
    return words


def _mean(words: Tensor) -> Tensor:
    return words.mean(0, keepdim=True)


def _said(phrase: Phrase) -> float:
    """How often, in proportion."""
    return len(phrase.objects) ** COMMON / len(phrase.words.split()) ** BRIEF


def phrases(entries: Sequence[Entry]) -> list[Phrase]:
    """Every phrase that is true of some object: its kind, the kind's last word, and its kind told apart."""
    objects: dict[str, set[int]] = {}
    for number, entry in enumerate(entries):
        name = names(entry)
        for words in (name.kind, name.kind.rpartition(" ")[2], name.words):
            objects.setdefault(words, set()).add(number)
    share = group_weights(tuple(entries))
    made = []
    for words, numbers in objects.items():
        chosen = np.array(sorted(numbers))
        made.append(Phrase(words, chosen, share[chosen] / share[chosen].sum()))
    return made
