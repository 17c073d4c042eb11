"""Examples that cost as much to make as to learn from: kept on the disk, and shown again and again."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from backend.tensor_files import write_tensors
from backend.training.data.records import numbered
from backend.training.flows import LatentExamples, StructureExamples

Examples = TypeVar("Examples", StructureExamples, LatentExamples)

_FIRST, _NEW = 160, 0.1


class StoredExamples(Generic[Examples]):
    """Examples by number. The first ones and a tenth of the others are made, at their first use, and kept in
    `folder` in half precision; the others repeat some before them.
    """

    def __init__(self, folder: Path, kind: type[Examples], make: Callable[[int], Examples]):
        self._folder = folder
        self._kind: type[Examples] = kind
        self._make: Callable[[int], Examples] = make

    def __call__(self, number: int) -> Examples:
        number = self.stored(number)
        path = self._folder / f"{number}.safetensors"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_tensors(path, _flat(self._make(number)))
        return self._kind(**_nested(load_file(path)))

    def stored(self, number: int) -> int:
        """Which examples stand for a number."""
        rng = np.random.default_rng(number)
        if number < _FIRST or rng.random() < _NEW:
            return number
        return self.stored(int(rng.integers(number)))


def _flat(examples: StructureExamples | LatentExamples) -> dict[str, Tensor]:
    """Tensors by field, those of a tuple with their number; numbers with a fraction in half precision."""
    table: dict[str, Tensor] = {}
    for field in fields(examples):
        value = getattr(examples, field.name)
        many = numbered(field.name, value) if isinstance(value, tuple) else {field.name: value}
        table.update({name: one for name, one in many.items() if one is not None})
    return {name: one.half() if one.is_floating_point() else one for name, one in table.items()}


def _nested(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The reverse of `_flat`."""
    alone = {name: one for name, one in tensors.items() if "." not in name}
    many = {name.split(".")[0] for name in tensors if "." in name}
    return alone | {
        name: tuple(
            tensors[f"{name}.{number}"]
            for number in range(sum(one.startswith(f"{name}.") for one in tensors))
        )
        for name in many
    }
