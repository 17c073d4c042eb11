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


def _sights(walls: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Share (m, m, m) f32 of the directions (N, 3) from which light reaches a cell; walls stop it."""
    seen = np.zeros(walls.shape, np.float32)
    main = np.abs(towards).argmax(axis=1)
    for axis in range(3):
        turned = np.roll((0, 1, 2), -axis)  # the main axis first
        free = np.ascontiguousarray((~walls).transpose(turned), dtype=np.float32)
        light = _light(free, np.ascontiguousarray(towards[main == axis][:, turned]))
        seen += light.transpose(np.argsort(turned))
    return seen / np.float32(len(towards))


@njit(nogil=True, cache=True, fastmath=True)
def _light(free, towards):
    """Sum over directions near the first axis of the light that goes through the grid layer by layer."""
    size = free.shape[0]
    total = np.zeros((size, size, size), np.float32)
    before, after = np.ones((size + 2, size + 2), np.float32), np.ones((size + 2, size + 2), np.float32)
    for n in range(len(towards)):
        # A layer takes its light from the next one towards the source, moved by (u, v).
        u, v = towards[n, 1] / abs(towards[n, 0]), towards[n, 2] / abs(towards[n, 0])
        i0, j0 = 1 + int(math.floor(u)), 1 + int(math.floor(v))
        s, t = np.float32(u - math.floor(u)), np.float32(v - math.floor(v))
        one = np.float32(1)
        w00, w01, w10, w11 = (one - s) * (one - t), (one - s) * t, s * (one - t), s * t
        before[:] = one
        for step in range(size):
            layer = size - 1 - step if towards[n, 0] > 0 else step
            for i in range(size):
                low, high = before[min(i + i0, size + 1)], before[min(i + i0 + 1, size + 1)]
                row, sums, passes = after[i + 1], total[layer, i], free[layer, i]
                for j in range(size - 1):
                    value = w00 * low[j + j0] + w01 * low[j + j0 + 1]
                    value += w10 * high[j + j0] + w11 * high[j + j0 + 1]
                    row[j + 1] = value * passes[j]
                    sums[j] += row[j + 1]
                j = size - 1  # the grid's rim is free, and lit from beyond
                row[j + 1] = passes[j]
                sums[j] += passes[j]
            before, after = after, before
    return total
