"""Coarse silhouettes of many shapes from many sides, cropped as pictures are. V vertices · F faces."""

import math

import numpy as np
from numba import njit
from PIL import Image

from backend.geometry.render import CROP_MARGIN, rasterise
from backend.geometry.views import fitting_distance, normalised, turned
from backend.image import crop_box

SIZE = 32
_SAMPLES = 2 * SIZE
_FOV = math.radians(40)


def picture_mask(cutout: Image.Image) -> np.ndarray:
    """The silhouette (32, 32) bool of an RGBA picture, cropped as preprocessing crops."""
    alpha = cutout.getchannel("A")
    cropped = alpha.crop(crop_box(np.asarray(alpha))).resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(cropped) >= 128


def shape_masks(
    vertices: np.ndarray, faces: np.ndarray, azimuths: tuple[float, ...], elevations: tuple[float, ...]
) -> np.ndarray:
    """(azimuths, elevations, 32, 32) bool of a shape: vertices (V, 3) of any size and place, faces (F, 3)."""
    masks = np.zeros((len(azimuths), len(elevations), SIZE, SIZE), bool)
    for i, azimuth in enumerate(azimuths):
        placed = normalised(turned(vertices.astype(np.float64), azimuth))
        for j, elevation in enumerate(elevations):
            masks[i, j] = _mask(placed, faces, elevation, fitting_distance(_FOV))
    return masks


@njit(nogil=True, cache=True)
def _mask(vertices, faces, elevation, distance):
    c, s = math.cos(elevation), math.sin(elevation)
    points = np.empty((vertices.shape[0], 3))
    for n in range(vertices.shape[0]):
        x, y, z = vertices[n]
        depth = distance + y * c - z * s
        points[n] = x / depth, -(z * c + y * s) / depth, 1.0 / depth
    low = np.array([points[:, 0].min(), points[:, 1].min()])
    high = np.array([points[:, 0].max(), points[:, 1].max()])
    extent = max(high[0] - low[0], high[1] - low[1], 1e-9) * CROP_MARGIN
    for axis in range(2):
        points[:, axis] = ((points[:, axis] - (low[axis] + high[axis]) / 2) / extent + 0.5) * _SAMPLES
    nearest_face, _ = rasterise(points, faces, _SAMPLES)
    mask = np.zeros((SIZE, SIZE), np.bool_)
    for row in range(SIZE):
        for column in range(SIZE):
            samples = nearest_face[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            mask[row, column] = (samples >= 0).sum() >= 2
    return mask
