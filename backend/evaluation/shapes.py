"""The shapes of the training set, as the baselines need them: one a group of variants, without colours.

The bank is a compressed copy for machines without the training data: vertices on a coarse grid, merged.
V vertices · F faces.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import UserError
from backend.files import write_bytes
from backend.training.assets import Entry, load_asset

BANK = Path(__file__).with_name("training_shapes.npz.xz")
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


def write_bank(entries: Sequence[Entry], path: Path) -> tuple[Shape, ...]:
    """Writes the shapes of a training set and, beside them, their licences; returns them as read back."""
    shapes = tuple(simplified(shape) for shape in read_shapes(entries))
    assert all(len(shape.vertices) < 1 << 15 and len(shape.faces) < 1 << 16 for shape in shapes)
    vertices = np.concatenate([shape.vertices for shape in shapes])
    faces = np.concatenate([_differences(shape.faces) for shape in shapes]).astype(np.uint16)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        vertex_counts=np.array([len(shape.vertices) for shape in shapes], np.uint16),
        face_counts=np.array([len(shape.faces) for shape in shapes], np.uint16),
        vertices=vertices.astype(np.uint8).T,
        low=(faces & 255).astype(np.uint8).T,
        high=(faces >> 8).astype(np.uint8).T,
    )
    write_bytes(path, lzma.compress(buffer.getvalue(), preset=9))
    write_bytes(path.with_name(path.name.partition(".")[0] + ".md"), _papers(one_a_group(entries)).encode())
    return read_bank(path)


def read_bank(path: Path = BANK) -> tuple[Shape, ...]:
    """The shapes of a bank; UserError where it is missing or damaged."""
    try:
        data = np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False)
        vertices = data["vertices"].T.astype(np.float32)
        differences = (data["low"].T + (data["high"].T.astype(np.uint16) << 8)).astype(np.uint16)
        ends = [np.cumsum(data[name].astype(np.int64)) for name in ("vertex_counts", "face_counts")]
    except FileNotFoundError as error:
        raise UserError(
            f"There is no bank of shapes at {path}; give the training data with --train."
        ) from error
    except (OSError, ValueError, KeyError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"The bank of shapes {path} is damaged ({error}); write it again.") from error
    parts = zip(
        np.split(vertices, ends[0][:-1]), np.split(differences.view(np.int16), ends[1][:-1]), strict=True
    )
    return tuple(Shape(corners, _restored(faces)) for corners, faces in parts)


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


def _differences(faces: np.ndarray) -> np.ndarray:
    """(F, 3): the first corner from the one before, the second from the first, the third from the second."""
    a, b, c = faces.T
    return np.stack([np.diff(a, prepend=0), b - a, c - b], axis=1)


def _restored(differences: np.ndarray) -> np.ndarray:
    first = differences[:, :1].astype(np.int32).cumsum(axis=0)
    return np.cumsum(np.concatenate([first, differences[:, 1:].astype(np.int32)], axis=1), axis=1).astype(
        np.int32
    )


def _papers(entries: Sequence[Entry]) -> str:
    free = sum(entry.licence.startswith("CC0") for entry in entries)
    credited = sorted({e.attribution for e in entries if e.attribution and not e.licence.startswith("CC0")})
    head = (
        f"# Training shapes\n\nThe geometry of {len(entries)} training objects, without colours, rounded and"
        " simplified: what `python -m backend evaluate` retrieves from. Each stays under its own licence."
        f" {free} are in the public domain (CC0).\n"
    )
    lines = "".join(f"- {line}; rounded and simplified\n" for line in credited)
    return head + (f"\nThe others ask for these credits:\n\n{lines}" if credited else "")
