"""What any model must beat: the nearest training view, and the mean of all training shapes.

Both are in the unit cube, as predictions are. R resolution · N views of training shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from PIL import Image

from backend.evaluation.prediction import EMPTY, Prediction
from backend.evaluation.shapes import Shape
from backend.evaluation.silhouettes import picture_mask, shape_masks
from backend.evaluation.surface_scores import sample_surface
from backend.evaluation.unit_cube import RESOLUTION, placement, turn
from backend.evaluation.voxel_scores import distances, f_score_of_distances
from backend.geometry.mesh_files import Asset
from backend.geometry.views import align
from backend.geometry.voxelize import sampled_occupancy

AZIMUTHS = tuple(2 * math.pi * n / 16 for n in range(16))
ELEVATIONS = tuple(math.radians(degrees) for degrees in (5.0, 20.0, 35.0))
_CUTS = np.geomspace(0.01, 0.5, 24)
_POINTS = 20_000  # on a shape, whose surface crosses a few thousand voxels
_CALIBRATION = 100  # training shapes that choose the cut of the mean occupancy


class Retrieval:
    """The training shape and side whose silhouette differs in the fewest of 32² pixels."""

    def __init__(self, shapes: Sequence[Shape], threads: int) -> None:
        def masks(shape: Shape) -> np.ndarray:
            drawn = shape_masks(shape.vertices, shape.faces, AZIMUTHS, ELEVATIONS)
            return np.packbits(drawn.reshape(-1, drawn[0, 0].size), axis=1)

        with ThreadPoolExecutor(threads) as pool:
            self._masks = np.concatenate(list(pool.map(masks, shapes)))
        self._shapes = shapes

    def __len__(self) -> int:
        return len(self._masks)

    def nearest(self, cutout: Image.Image) -> Prediction:
        """What is retrieved for an RGBA picture."""
        mask = np.packbits(picture_mask(cutout))
        number = int(np.bitwise_count(self._masks ^ mask).sum(axis=1, dtype=np.int32).argmin())
        shape, side = divmod(number, len(AZIMUTHS) * len(ELEVATIONS))
        vertices = align(self._shapes[shape].vertices, AZIMUTHS[side // len(ELEVATIONS)])
        faces = self._shapes[shape].faces
        return Prediction(sampled_occupancy(vertices, faces, RESOLUTION), _grey(vertices, faces))


def mean_shape(occupied: np.ndarray) -> Prediction:
    """A mean occupancy (R, R, R) as the answer to every picture; its mesh is the voxels' boundary."""
    return Prediction(occupied, boundary(occupied))


def mean_occupancy(shapes: Sequence[Shape], threads: int) -> np.ndarray:
    """(R, R, R) bool: the mean of all shapes and sides, cut where it fits some of them best."""
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(_counted, [shapes[n::threads] for n in range(threads)]))
    mean = np.sum(parts, axis=0) / (len(shapes) * len(AZIMUTHS))
    return _best_cut(mean, shapes)


def boundary(occupied: np.ndarray) -> Asset:
    """The faces between occupied and empty voxels (R, R, R) of the unit cube, two triangles each."""
    if not occupied.any():
        return EMPTY
    padded = np.pad(occupied, 1)
    quads = []
    for axis in range(3):
        u, v = np.eye(3)[[(axis + 1) % 3, (axis + 2) % 3]]
        for side in (0, 1):
            beyond = np.roll(padded, 1 - 2 * side, axis)[1:-1, 1:-1, 1:-1]
            corner = np.argwhere(occupied & ~beyond) + side * np.eye(3)[axis]
            ring = [corner, corner + u, corner + u + v, corner + v]
            quads.append(np.stack(ring if side else ring[::-1], axis=1))
    corners = np.concatenate(quads).reshape(-1, 3) / len(occupied) - 0.5
    first = np.arange(0, len(corners), 4)[:, None]
    faces = np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])])
    return _grey(corners, faces.astype(np.int32))


def _counted(shapes: Sequence[Shape]) -> np.ndarray:
    """How many of the shapes' sides occupy each voxel, by points on their surfaces."""
    counts = np.zeros((RESOLUTION,) * 3, np.int32)
    last = np.zeros((RESOLUTION,) * 3, np.int32)  # the side that marked a voxel last
    for number, shape in enumerate(shapes):
        points = sample_surface(shape.vertices, shape.faces, _POINTS, np.random.default_rng(0))
        for n, azimuth in enumerate(AZIMUTHS, start=1):
            where = placement(shape.vertices, azimuth)
            _count(
                points, turn(azimuth) * where.scale, np.array(where.offset),
                number * len(AZIMUTHS) + n, counts, last,
            )  # fmt: skip
    return counts


@njit(nogil=True, cache=True)
def _count(points, matrix, offset, side, counts, last):
    """Adds 1 to counts (R, R, R) at every voxel with a point (N, 3) in it."""
    size = counts.shape[0]
    voxel = np.zeros(3, np.int64)
    for n in range(points.shape[0]):
        for axis in range(3):
            place = offset[axis]
            for m in range(3):
                place += points[n, m] * matrix[m, axis]
            voxel[axis] = min(size - 1, max(0, int((place + 0.5) * size)))
        i, j, k = voxel
        if last[i, j, k] != side:
            last[i, j, k] = side
            counts[i, j, k] += 1


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


def _grey(vertices: np.ndarray, faces: np.ndarray) -> Asset:
    return Asset(vertices, faces, np.full((len(faces), 3, 3), 128, np.uint8), np.zeros(len(faces), bool))
