"""Examples that cost as much to make as to learn from: kept on the disk, and shown again and again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from backend.files import atomic_path
from backend.training.flows import StructureExamples

_FIRST, _NEW = 160, 0.1


class StoredExamples:
    """Examples by number. The first ones and a tenth of the others are made, at their first use, and kept in
    `folder` in half precision; the others repeat some before them.
    """

    def __init__(self, folder: Path, make: Callable[[int], StructureExamples]):
        self._folder = folder
        self._make = make

    def __call__(self, number: int) -> StructureExamples:
        number = self.stored(number)
        path = self._folder / f"{number}.safetensors"
        if not path.is_file():
            made = self._make(number)
            assert made.aligned is not None
            tensors = {"tokens": made.tokens, "latents": made.latents, "aligned": made.aligned}
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                save_file({name: one.half().contiguous() for name, one in tensors.items()}, temporary)
        return StructureExamples(**load_file(path))

    def stored(self, number: int) -> int:
        """Which examples stand for a number."""
        rng = np.random.default_rng(number)
        if number < _FIRST or rng.random() < _NEW:
            return number
        return self.stored(int(rng.integers(number)))
