"""Translations of sentences with values in them: which pattern one follows, and its values in another one."""

import re
from collections.abc import Mapping
from functools import lru_cache

PLACE = re.compile(r"\{(\d+)\}")
COUNTED = re.compile(r"(.+?)( \d+/\d+)")  # a stage and its step


class Sentences:
    """One language's texts, by the English ones, of which some hold numbered places."""

    def __init__(self, texts: Mapping[str, str]):
        self._texts = texts
        # What says more of itself goes before what is nearly all values.
        longest = sorted(filter(PLACE.search, texts), key=lambda text: -len(PLACE.sub("", text)))
        self._patterns = [(re.compile(_expression(text), re.DOTALL), texts[text]) for text in longest]
        self.translated = lru_cache(512)(self._translated)

    def _translated(self, sentence: str) -> str:
        """The sentence in this language; as it is where no text fits. Values are looked up too."""
        if sentence in self._texts:
            return self._texts[sentence]
        if counted := COUNTED.fullmatch(sentence):
            return self._one(counted[1]) + counted[2]
        for pattern, said in self._patterns:
            if found := pattern.fullmatch(sentence):
                values = {name[1:]: self._one(value) for name, value in found.groupdict().items()}
                return "".join(
                    values[part] if place % 2 else part for place, part in enumerate(PLACE.split(said))
                )
        return sentence

    def _one(self, text: str) -> str:
        return self._texts.get(text, text)


def _expression(text: str) -> str:
    """What matches sentences made of the text; a place that comes twice holds the same twice."""
    parts, seen = PLACE.split(text), set()
    made = []
    for place, part in enumerate(parts):
        if place % 2 == 0:
            made.append(re.escape(part))
        else:
            made.append(f"(?P=v{part})" if part in seen else f"(?P<v{part}>.*?)")
            seen.add(part)
    return "".join(made)
