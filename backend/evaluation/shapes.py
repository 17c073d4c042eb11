"""The shapes of the training set, as the baselines need them: one a group of variants, without colours.

V vertices · F faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.geometry.mesh_files import Entry, load_asset

_LEVELS = (256, 192, 128, 96, 80, 64, 48)
_MANY_FACES = 4000  # shapes with more are put on a coarser grid


@dataclass(frozen=True)
class Shape:
    """vertices (V, 3) f32, any size, front on −Y · faces (F, 3) i32."""

    vertices: np.ndarray
    faces: np.ndarray


def read_shapes(entries: Sequence[Entry]) -> tuple[Shape, ...]:
    """One shape a group, without those of a brand; UserError where a mesh cannot be read."""
    assets = (load_asset(entry.path) for entry in one_a_group(entries))
    return tuple(Shape(asset.vertices, asset.faces) for asset in assets)


def one_a_group(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The first entry of every group of shape variants, without those of a brand."""
    first: dict[str, Entry] = {}
    for entry in entries:
        if not entry.brand:
            first.setdefault(entry.group, entry)
    return tuple(first.values())


def simplified(shape: Shape) -> Shape:
    """Vertices rounded to at most 256 levels of the longest side and merged, faces sorted, none twice."""
    for levels in _LEVELS:
        result = _rounded(shape, levels)
        if len(result.faces) <= _MANY_FACES:
            break
    return result


def _rounded(shape: Shape, levels: int) -> Shape:
    low, high = shape.vertices.min(axis=0), shape.vertices.max(axis=0)
    longest = max(float((high - low).max()), 1e-9)
    places = np.rint((shape.vertices - low) / longest * (levels - 1)).astype(np.int64)
    keys, number = np.unique(places @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    faces = number[shape.faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    # The smallest corner first, so that turned copies are alike; then mirrored copies go too.
    first = faces.argmin(axis=1)[:, None]
    faces = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)
    _, kept = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    used, faces = np.unique(faces[kept], return_inverse=True)
    faces = faces.reshape(-1, 3)
    faces = faces[np.lexsort(faces.T[::-1])]
    corners = np.stack([keys[used] >> 16, keys[used] >> 8 & 255, keys[used] & 255], axis=1)
    return Shape(corners.astype(np.float32), faces.astype(np.int32))
