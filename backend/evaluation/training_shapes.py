"""What the baselines know of the training set: its shapes, and the occupancy that fits them best on average.

One shape a group of variants, without colours; either read from the training data, or from a compressed copy
that comes with the code. V vertices · F faces · R resolution.
"""

import io
import lzma
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import UserError
from backend.files import write_bytes
from backend.geometry.mesh_files import Entry, load_asset
from backend.geometry.views import align
from backend.geometry.voxelize import sampled_occupancy
from backend.measures.comparison import distances, f_score_of_distances, sample_surface
from backend.measures.unit_cube import RESOLUTION, placement

BUNDLED = Path(__file__).with_name("training_shapes.npz.xz")
AZIMUTHS = tuple(2 * math.pi * n / 16 for n in range(16))
_LEVELS = (256, 192, 128, 96, 80, 64, 48)
_MANY_FACES = 4000  # shapes with more are put on a coarser grid
_CUTS = np.geomspace(0.01, 0.5, 24)
_POINTS = 20_000  # on a shape, whose surface crosses a few thousand voxels
_CALIBRATION = 100  # training shapes that choose the cut of the mean occupancy


@dataclass(frozen=True)
class Shape:
    """vertices (V, 3) f32, any size, front on −Y · faces (F, 3) i32."""

    vertices: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class TrainingShapes:
    """shapes, one a group of variants · mean_occupied (R, R, R) bool, their best average."""

    shapes: tuple[Shape, ...]
    mean_occupied: np.ndarray


def shapes_of(entries: Sequence[Entry], threads: int) -> TrainingShapes:
    """From the training objects themselves; UserError where a mesh cannot be read."""
    shapes = _load(entries)
    return TrainingShapes(shapes, mean_occupancy(shapes, threads))


def write_shapes(entries: Sequence[Entry], path: Path, threads: int) -> TrainingShapes:
    """Writes the copy of a training set, simplified, and its licences beside it; returns it as read back."""
    shapes = tuple(simplified(shape) for shape in _load(entries))
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
    write_bytes(path.with_name(path.name.partition(".")[0] + ".md"), _licences(one_a_group(entries)).encode())
    return read_shapes(path)


def read_shapes(path: Path = BUNDLED) -> TrainingShapes:
    """The copy at a path; UserError where it is missing or damaged."""
    try:
        data = np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False)
        vertices = data["vertices"].T.astype(np.float32)
        faces = (data["low"].T + (data["high"].T.astype(np.uint16) << 8)).astype(np.uint16).view(np.int16)
        ends = [np.cumsum(data[name].astype(np.int64))[:-1] for name in ("vertex_counts", "face_counts")]
        mean_occupied = np.unpackbits(data["mean_occupied"]).astype(bool).reshape((RESOLUTION,) * 3)
    except FileNotFoundError as error:
        raise UserError(
            f"The training shapes {path} are missing; give the training data with --train."
        ) from error
    except (OSError, ValueError, KeyError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"The training shapes {path} are damaged ({error}); write them again.") from error
    parts = zip(np.split(vertices, ends[0]), np.split(faces, ends[1]), strict=True)
    return TrainingShapes(tuple(Shape(corners, _restored(steps)) for corners, steps in parts), mean_occupied)


def mean_occupancy(shapes: Sequence[Shape], threads: int) -> np.ndarray:
    """(R, R, R) bool: the mean of all shapes and sides, cut where it fits some of them best."""
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(_counted, [shapes[n::threads] for n in range(threads)]))
    mean = np.sum(parts, axis=0) / (len(shapes) * len(AZIMUTHS))
    return _best_cut(mean, shapes)


def _differences(faces: np.ndarray) -> np.ndarray:
    """(F, 3): the first corner from the one before, the second from the first, the third from the second."""
    a, b, c = faces.T
    return np.stack([np.diff(a, prepend=0), b - a, c - b], axis=1)


def _restored(differences: np.ndarray) -> np.ndarray:
    first = differences[:, :1].astype(np.int32).cumsum(axis=0)
    return np.concatenate([first, differences[:, 1:].astype(np.int32)], axis=1).cumsum(axis=1, dtype=np.int32)


def _licences(entries: Sequence[Entry]) -> str:
    free = sum(entry.licence.startswith("CC0") for entry in entries)
    credited = sorted({e.attribution for e in entries if e.attribution and not e.licence.startswith("CC0")})
    head = (
        f"# Training shapes\n\nThe geometry of {len(entries)} training objects, without colours, rounded and"
        " simplified: what `python -m backend evaluate` retrieves from. Each stays under its own licence."
        f" {free} are in the public domain (CC0).\n"
    )
    lines = "".join(f"- {line}; rounded and simplified\n" for line in credited)
    return head + (f"\nThe others ask for these credits:\n\n{lines}" if credited else "")


def _load(entries: Sequence[Entry]) -> tuple[Shape, ...]:
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


def _counted(shapes: Sequence[Shape]) -> np.ndarray:
    """How many of the shapes' sides occupy each voxel, by points on their surfaces."""
    counts = np.zeros((RESOLUTION,) * 3, np.int32)
    for shape in shapes:
        points = sample_surface(shape.vertices, shape.faces, _POINTS, np.random.default_rng(0))
        for azimuth in AZIMUTHS:
            places = (placement(shape.vertices, azimuth).apply(points) + 0.5) * RESOLUTION
            occupied = np.zeros(counts.shape, bool)
            occupied[tuple(places.astype(np.int64).clip(0, RESOLUTION - 1).T)] = True
            counts += occupied
    return counts


def _best_cut(mean: np.ndarray, shapes: Sequence[Shape]) -> np.ndarray:
    """The occupancy above the cut with the best mean F-score on some of the shapes."""
    cuts = [mean > cut for cut in _CUTS if (mean > cut).any()]
    measured = [(cut, distances(cut)) for cut in cuts]
    scores = np.zeros(len(cuts))
    step = max(1, len(shapes) // _CALIBRATION)
    for number, shape in enumerate(shapes[::step]):
        side = AZIMUTHS[number % len(AZIMUTHS)]
        truth = sampled_occupancy(align(shape.vertices, side), shape.faces, RESOLUTION)
        to_truth = distances(truth)
        scores += [f_score_of_distances(cut, to_cut, truth, to_truth) for cut, to_cut in measured]
    return cuts[int(scores.argmax())]
