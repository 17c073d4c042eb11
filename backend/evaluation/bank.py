"""What the baselines know of the training set: its shapes, and the occupancy that fits them best on average.

Either read from the training data, or from a compressed copy that comes with the code. R resolution.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import UserError
from backend.evaluation.baselines import mean_occupancy
from backend.evaluation.shapes import Shape, one_a_group, read_shapes, simplified
from backend.evaluation.unit_cube import RESOLUTION
from backend.files import write_bytes
from backend.geometry.mesh_files import Entry

BANK = Path(__file__).with_name("training_shapes.npz.xz")


@dataclass(frozen=True)
class Bank:
    """shapes, one a group of variants · mean_occupied (R, R, R) bool, their best average."""

    shapes: tuple[Shape, ...]
    mean_occupied: np.ndarray


def bank_of(entries: Sequence[Entry], threads: int) -> Bank:
    """From the training objects themselves; UserError where a mesh cannot be read."""
    shapes = read_shapes(entries)
    return Bank(shapes, mean_occupancy(shapes, threads))


def write_bank(entries: Sequence[Entry], path: Path, threads: int) -> Bank:
    """Writes the copy of a training set, simplified, and its licences beside it; returns it as read back."""
    shapes = tuple(simplified(shape) for shape in read_shapes(entries))
    assert all(len(shape.vertices) < 1 << 15 and len(shape.faces) < 1 << 16 for shape in shapes)
    faces = np.concatenate([_differences(shape.faces) for shape in shapes]).astype(np.uint16)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        mean_occupied=np.packbits(mean_occupancy(shapes, threads)),
        vertex_counts=np.array([len(shape.vertices) for shape in shapes], np.uint16),
        face_counts=np.array([len(shape.faces) for shape in shapes], np.uint16),
        vertices=np.concatenate([shape.vertices for shape in shapes]).astype(np.uint8).T,
        low=(faces & 255).astype(np.uint8).T,
        high=(faces >> 8).astype(np.uint8).T,
    )
    write_bytes(path, lzma.compress(buffer.getvalue(), preset=9))
    write_bytes(path.with_name(path.name.partition(".")[0] + ".md"), _papers(one_a_group(entries)).encode())
    return read_bank(path)


def read_bank(path: Path = BANK) -> Bank:
    """The copy at a path; UserError where it is missing or damaged."""
    try:
        data = np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False)
        vertices = data["vertices"].T.astype(np.float32)
        faces = (data["low"].T + (data["high"].T.astype(np.uint16) << 8)).astype(np.uint16).view(np.int16)
        ends = [np.cumsum(data[name].astype(np.int64))[:-1] for name in ("vertex_counts", "face_counts")]
        mean_occupied = np.unpackbits(data["mean_occupied"]).astype(bool).reshape((RESOLUTION,) * 3)
    except FileNotFoundError as error:
        raise UserError(f"The bank {path} is missing; give the training data with --train.") from error
    except (OSError, ValueError, KeyError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"The bank of shapes {path} is damaged ({error}); write it again.") from error
    parts = zip(np.split(vertices, ends[0]), np.split(faces, ends[1]), strict=True)
    return Bank(tuple(Shape(corners, _restored(steps)) for corners, steps in parts), mean_occupied)


def _differences(faces: np.ndarray) -> np.ndarray:
    """(F, 3): the first corner from the one before, the second from the first, the third from the second."""
    a, b, c = faces.T
    return np.stack([np.diff(a, prepend=0), b - a, c - b], axis=1)


def _restored(differences: np.ndarray) -> np.ndarray:
    first = differences[:, :1].astype(np.int32).cumsum(axis=0)
    return np.concatenate([first, differences[:, 1:].astype(np.int32)], axis=1).cumsum(axis=1, dtype=np.int32)


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
