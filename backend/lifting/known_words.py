"""Whether a text model of few words knows anything of a sentence, of which it else makes a mere block."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.errors import UserError
from backend.models.minilm_text import MiniLmText

KNOWN_WORDS = "known_words.txt"
"""The file in a model's folder: nouns of the training objects, one a line, those of most objects first."""
SIMILAR = 0.75
"""Least cosine between a sentence and a known noun that it may stand for.

Measured: synonyms such as "automobile" and "kitten" lie above; nonsense, abstract words and other languages
below 0.73.
"""
SHOWN = 10
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""))
_BATCH = 64


class KnownWords:
    """The nouns of one model, with the encoder that compares others with them."""

    def __init__(self, words: Sequence[str], encoder: MiniLmText) -> None:
        self.words = tuple(words)
        self._set = frozenset(words)
        self._encoder = encoder

    @classmethod
    def of_folder(cls, folder: Path, encoder: MiniLmText) -> "KnownWords | None":
        """Those of a model's folder; None where it does not say."""
        path = folder / KNOWN_WORDS
        return cls(path.read_text(encoding="utf-8").split(), encoder) if path.is_file() else None

    def check(self, sentence: str) -> None:
        """UserError where neither a known noun is in the sentence nor one like it."""
        if not any(form in self._set for form in _forms(sentence)) and self._similarity(sentence) < SIMILAR:
            shown = sentence.strip() if len(sentence.strip()) <= 60 else sentence.strip()[:60] + "…"
            raise UserError(
                f"This model knows nothing of '{shown}'; name one object in English, such as "
                f"{', '.join(self.words[:SHOWN])}."
            )

    def _similarity(self, sentence: str) -> float:
        return float((self._nouns @ _embedded(self._encoder, [sentence])[0]).max()) if self.words else 1.0

    @cached_property
    def _nouns(self) -> Tensor:
        """(N, C), unit length."""
        phrases = [f"a {word}" for word in self.words]
        starts = range(0, len(phrases), _BATCH)
        return torch.cat([_embedded(self._encoder, phrases[start : start + _BATCH]) for start in starts])


@torch.no_grad()
def _embedded(encoder: MiniLmText, sentences: Sequence[str]) -> Tensor:
    """(B, C): the mean of each sentence's tokens, by which the encoder compares, at unit length."""
    return F.normalize(torch.stack([words.mean(0) for words in encoder.words(sentences)]), dim=-1)


def _forms(sentence: str) -> Iterator[str]:
    """The words, also joined in pairs ("fire truck"), each as it is and as a plural's singular."""
    words = re.findall(r"[^\W\d_]+", sentence.lower())
    for word in (*words, *map("".join, zip(words[:-1], words[1:], strict=True))):
        yield word
        yield from (word.removesuffix(end) + new for end, new in _ENDINGS if word.endswith(end))
