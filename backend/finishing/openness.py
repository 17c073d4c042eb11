"""Which places round an object lie open: seen from outside, or wide enough for a large ball to come in.

What is behind a slit or a hole in a wall is neither. A coarse grid does: two cells of the fine one a side.
n corners of the fine grid a side · m cells of the coarse one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.ndimage import distance_transform_edt, label

DIRECTIONS = 100
_BALL = 6.0  # coarse cells; the radius of the large ball
_WALL = 0.9  # fine cells from the surface within which a corner blocks the sight


def openness(distance: np.ndarray) -> np.ndarray:
    """Share (m, m, m) f32 of the directions from which a cell is seen; 1 where the large ball comes.

    distance: from the surface (n, n, n), in fine cells.
    """
    walls = _pooled(distance < _WALL)
    share = _sights(walls, directions(DIRECTIONS))
    share[_ball_reaches(walls)] = 1.0
    return share


def directions(count: int) -> np.ndarray:
    """Unit vectors (count, 3) spread evenly over the sphere (Fibonacci lattice)."""
    number = np.arange(count) + 0.5
    z = 1 - 2 * number / count
    angle = math.pi * (1 + math.sqrt(5)) * number
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def _pooled(fine: np.ndarray) -> np.ndarray:
    """(n, n, n) -> (m, m, m): whether any of the 2 × 2 × 2 corners is set."""
    pad = [(0, side % 2) for side in fine.shape]
    fine = np.pad(fine, pad)
    for axis in range(3):
        even, odd = (np.take(fine, np.arange(start, fine.shape[axis], 2), axis) for start in (0, 1))
        fine = even | odd
    return fine


def _ball_reaches(walls: np.ndarray) -> np.ndarray:
    """Where a ball that comes from outside touches."""
    room = np.pad(~walls, 1 + int(_BALL), constant_values=True)
    centres = distance_transform_edt(room) >= _BALL
    numbers, _ = label(centres)
    inner = (slice(1 + int(_BALL), -1 - int(_BALL)),) * 3
    touched = distance_transform_edt(numbers != numbers[0, 0, 0]) <= _BALL
    return touched[inner] & ~walls


@njit(nogil=True, cache=True)
def _sights(walls, towards):
    """Light from each direction goes through the grid layer by layer; walls stop it."""
    size = walls.shape[0]
    seen = np.zeros((size, size, size), np.float32)
    before, after = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
    for n in range(len(towards)):
        axis = int(np.argmax(np.abs(towards[n])))
        ahead = towards[n, axis]
        # Light of direction d comes from +d, so a layer takes it from the next one along d.
        u = towards[n, (axis + 1) % 3] / abs(ahead)
        v = towards[n, (axis + 2) % 3] / abs(ahead)
        before[:] = 1.0
        for step in range(size):
            layer = size - 1 - step if ahead > 0 else step
            for i in range(size):
                for j in range(size):
                    x, y = i + u, j + v
                    light = np.float32(1.0)
                    if 0 <= x < size - 1 and 0 <= y < size - 1:
                        i0, j0 = int(x), int(y)
                        s, t = np.float32(x - i0), np.float32(y - j0)
                        light = (1 - s) * ((1 - t) * before[i0, j0] + t * before[i0, j0 + 1]) + s * (
                            (1 - t) * before[i0 + 1, j0] + t * before[i0 + 1, j0 + 1]
                        )
                    if axis == 0:
                        a, b, c = layer, i, j
                    elif axis == 1:
                        a, b, c = j, layer, i
                    else:
                        a, b, c = i, j, layer
                    if walls[a, b, c]:
                        light = np.float32(0.0)
                    after[i, j] = light
                    seen[a, b, c] += light
            before, after = after, before
    return seen / np.float32(len(towards))
