"""What any model must beat: the nearest training view, and the mean of all training shapes.

Both are in the unit cube, as predictions are. R resolution · N views of training shapes.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from backend.evaluation.prediction import Prediction
from backend.evaluation.training_shapes import AZIMUTHS, Shape
from backend.geometry.views import align
from backend.geometry.voxelize import boundary, grey, sampled_occupancy
from backend.image import crop_box
from backend.measures.outline import MASK, shape_masks
from backend.measures.unit_cube import RESOLUTION

ELEVATIONS = tuple(math.radians(degrees) for degrees in (5.0, 20.0, 35.0))


def picture_mask(cutout: Image.Image) -> np.ndarray:
    """The silhouette (32, 32) bool of an RGBA picture, cropped as preprocessing crops."""
    alpha = cutout.getchannel("A")
    cropped = alpha.crop(crop_box(np.asarray(alpha))).resize((MASK, MASK), Image.Resampling.BOX)
    return np.asarray(cropped) >= 128


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
        return Prediction(sampled_occupancy(vertices, faces, RESOLUTION), grey(vertices, faces))


def mean_shape(occupied: np.ndarray) -> Prediction:
    """A mean occupancy (R, R, R) as the answer to every picture; its mesh is the voxels' boundary."""
    return Prediction(occupied, boundary(occupied))
