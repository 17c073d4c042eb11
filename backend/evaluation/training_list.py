"""What a model was trained on, an object a line: so all can check that test objects are not among it."""

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from backend.files import atomic_path
from backend.geometry.mesh_files import Entry, load_asset
from backend.geometry.signature import signature

COLUMNS = ("id", "geo_group", "family", "licence", "geometry")


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
        writer.writerow(COLUMNS)
        writer.writerows((*astuple(one)[:-1], " ".join(map(str, one.geometry))) for one in lines)
