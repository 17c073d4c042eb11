"""Coarse silhouettes of many shapes from many sides, cropped as pictures are. V vertices · F faces."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from PIL import Image

from backend.evaluation.unit_cube import turn
from backend.geometry.render import CROP_MARGIN
from backend.geometry.views import fitting_distance
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
        turned = vertices.astype(np.float64) @ turn(azimuth)
        low, high = turned.min(axis=0), turned.max(axis=0)
        turned = (turned - (low + high) / 2) / max(float((high - low).max()), 1e-9)
        for j, elevation in enumerate(elevations):
            masks[i, j] = _mask(turned, faces, elevation, fitting_distance(_FOV))
    return masks


@njit(nogil=True, cache=True)
def _mask(vertices, faces, elevation, distance):
    c, s = math.cos(elevation), math.sin(elevation)
    count = vertices.shape[0]
    points = np.empty((count, 2))
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for n in range(count):
        x, y, z = vertices[n, 0], vertices[n, 1], vertices[n, 2]
        depth = distance + y * c - z * s
        points[n, 0], points[n, 1] = x / depth, -(z * c + y * s) / depth
        for axis in range(2):
            low[axis] = min(low[axis], points[n, axis])
            high[axis] = max(high[axis], points[n, axis])
    extent = max(high[0] - low[0], high[1] - low[1], 1e-9) * CROP_MARGIN
    for n in range(count):
        for axis in range(2):
            middle = (low[axis] + high[axis]) / 2
            points[n, axis] = ((points[n, axis] - middle) / extent + 0.5) * _SAMPLES
    fine = _fill(points, faces)
    mask = np.zeros((SIZE, SIZE), np.bool_)
    for row in range(SIZE):
        for column in range(SIZE):
            covered = 0
            for i in range(2):
                for j in range(2):
                    covered += fine[2 * row + i, 2 * column + j]
            mask[row, column] = covered >= 2
    return mask


@njit(nogil=True, cache=True)
def _fill(points, faces):
    """Samples (64, 64) bool that a triangle covers."""
    fine = np.zeros((_SAMPLES, _SAMPLES), np.bool_)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay = points[i, 0], points[i, 1]
        bx, by = points[j, 0], points[j, 1]
        cx, cy = points[k, 0], points[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-12:
            continue
        left = max(0, int(math.ceil(min(ax, bx, cx) - 0.5)))
        right = min(_SAMPLES - 1, int(math.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(math.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(_SAMPLES - 1, int(math.floor(max(ay, by, cy) - 0.5)))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                if fine[row, column]:
                    continue
                x = column + 0.5
                w0 = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                w1 = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                if w0 >= 0.0 and w1 >= 0.0 and w0 + w1 <= 1.0:
                    fine[row, column] = True
    return fine
