"""What any model must beat: the nearest training view, and the mean of all training shapes.

Both are in the unit cube, as predictions are. R resolution · N views of training shapes.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from backend.evaluation.prediction import EMPTY, Prediction
from backend.evaluation.silhouettes import picture_mask, shape_masks
from backend.evaluation.training_shapes import AZIMUTHS, Shape
from backend.evaluation.unit_cube import RESOLUTION
from backend.geometry.mesh_files import Asset
from backend.geometry.views import align
from backend.geometry.voxelize import sampled_occupancy

ELEVATIONS = tuple(math.radians(degrees) for degrees in (5.0, 20.0, 35.0))


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


def _grey(vertices: np.ndarray, faces: np.ndarray) -> Asset:
    return Asset(vertices, faces, np.full((len(faces), 3, 3), 128, np.uint8), np.zeros(len(faces), bool))
