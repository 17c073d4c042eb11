"""What a model was trained on, an object a line: so all can check that test objects are not among it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from backend.errors import UserError
from backend.files import atomic_path
from backend.geometry.mesh_files import Entry, load_asset
from backend.geometry.signature import is_same_shape, signature

_COLUMNS = ("id", "geo_group", "family", "licence", "geometry")


@dataclass(frozen=True)
class Listed:
    """One object: name, group of shape variants, family, licence, and the signature of its shape."""

    id: str
    geo_group: str
    family: str
    licence: str
    geometry: tuple[int, ...]


def listed(entry: Entry) -> Listed:
    """The line of one entry; UserError where its mesh cannot be read."""
    asset = load_asset(entry.path)
    geometry = signature(asset.vertices, asset.faces)
    # Without a manifest every file is its own group, named by its path, which is nobody else's business.
    group = entry.name if entry.group == entry.path.as_posix() else entry.group
    return Listed(entry.name, group, entry.family, entry.licence, geometry)


def write_list(entries: Iterable[Entry], path: Path) -> None:
    """Writes the lines of all entries, sorted by name, as CSV."""
    lines = sorted((listed(entry) for entry in entries), key=lambda one: one.id)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((*astuple(one)[:-1], " ".join(map(str, one.geometry))) for one in lines)


def read_list(path: Path) -> tuple[Listed, ...]:
    """The lines of a list; UserError where it is missing or no such list."""
    if not path.is_file():
        raise UserError(f"There is no list of training objects at {path}; write it with --write-list.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        texts = [[row[name] for name in _COLUMNS] for row in rows]
        return tuple(Listed(a, b, c, d, tuple(map(int, geometry.split()))) for a, b, c, d, geometry in texts)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is no list of training objects ({error}); write it again.") from error


def same_shapes(tested: Sequence[Listed], trained: Sequence[Listed]) -> list[tuple[str, str]]:
    """Pairs of a tested and a trained object whose shapes have one signature."""
    pairs = ((one, other) for one in tested for other in trained)
    return [(one.id, other.id) for one, other in pairs if is_same_shape(one.geometry, other.geometry)]
