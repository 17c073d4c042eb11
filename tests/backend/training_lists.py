"""Reads the lists of objects that the product writes, and compares the shapes of two."""

import csv
from collections.abc import Sequence
from pathlib import Path

from backend.geometry.signature import COLUMNS, Listed, is_same_shape


def read_list(path: Path) -> tuple[Listed, ...]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [[row[name] for name in COLUMNS] for row in csv.DictReader(file)]
    return tuple(Listed(a, b, c, d, tuple(map(int, geometry.split()))) for a, b, c, d, geometry in rows)


def same_shapes(tested: Sequence[Listed], trained: Sequence[Listed]) -> list[tuple[str, str]]:
    """Pairs of a tested and a trained object whose shapes have one signature."""
    pairs = ((one, other) for one in tested for other in trained)
    return [(one.id, other.id) for one, other in pairs if is_same_shape(one.geometry, other.geometry)]
