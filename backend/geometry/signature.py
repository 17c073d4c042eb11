"""A signature of a shape that survives re-export: another size, place, orientation, order or split vertices.

It is made of integrals over the surface and of the farthest point, all in units of the root-mean-square
radius, so that it depends neither on the triangulation nor on the frame. A list of signatures tells what a
model was trained on, so that all can check that test objects are not among it. V vertices · F faces.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from backend.files import atomic_path
from backend.geometry.mesh_files import Entry, load_asset

COLUMNS = ("id", "geo_group", "family", "licence", "geometry")
STEP = 1e-3
_TOLERANCE = 2  # steps; float32 files differ by less


def signature(vertices: np.ndarray, faces: np.ndarray) -> tuple[int, ...]:
    """Seven whole numbers for a mesh (V, 3), (F, 3); all 0 for one without area."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    normal = np.cross(b - a, c - a) / 2
    area = np.linalg.norm(normal, axis=1)
    total = area.sum()
    if total <= 0:
        return (0,) * 7
    middle = (a + b + c) / 3
    centre = (area[:, None] * middle).sum(axis=0) / total
    a, b, c, middle = a - centre, b - centre, c - centre, middle - centre
    # Exact: the integral of x xᵀ over a triangle is area / 12 · (a aᵀ + b bᵀ + c cᵀ + 9 m mᵀ).
    parts = [(a, 1.0), (b, 1.0), (c, 1.0), (middle, 9.0)]
    moments = np.sum([w * np.einsum("f,fi,fj->ij", area, p, p) for p, w in parts], axis=0) / 12 / total
    radius = np.sqrt(max(float(np.trace(moments)), 1e-30))
    axes = np.sqrt(np.clip(np.linalg.eigvalsh(moments), 0, None))
    volume = abs(float(np.einsum("fi,fi->", middle, normal))) / 3
    slant = np.linalg.norm((normal[:, :, None] * middle[:, None, :]).sum(axis=0)) / total
    farthest = np.sqrt(max(float(np.square(corner).sum(axis=1)[area > 0].max()) for corner in (a, b, c)))
    numbers = [
        *(axes / radius),
        np.sqrt(total) / radius,
        np.cbrt(volume) / radius,
        slant / radius,
        farthest / radius,
    ]
    return tuple(int(round(float(number) / STEP)) for number in numbers)


def is_same_shape(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two signatures can be of one shape."""
    return all(abs(x - y) <= _TOLERANCE for x, y in zip(a, b, strict=True))


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
