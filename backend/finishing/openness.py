"""Which places round an object lie open: seen from outside, or wide enough for a large ball to come in.

What is behind a slit or a hole in a wall is neither. A coarse grid does: two cells of the fine one a side.
n corners of the fine grid a side · m cells of the coarse one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.ndimage import label

from backend.geometry.sights import sphere

DIRECTIONS = 100
_BALL = 6  # coarse cells; the radius of the large ball
_WALL = 0.9  # fine cells from the surface within which a corner blocks the sight


def walls_of(distance: np.ndarray) -> np.ndarray:
    """The cells (m, m, m) bool that the surface goes through; distance: from it (n, n, n), in fine cells."""
    return _pooled(distance < _WALL)


def openness(walls: np.ndarray) -> np.ndarray:
    """Share (m, m, m) f32 of the directions from which a cell is seen; 1 where the large ball comes."""
    share = _sights(walls, sphere(DIRECTIONS))
    share[_ball_reaches(walls)] = 1.0
    return share


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
    margin = 1 + _BALL
    room = np.pad(walls, margin)
    centres = _squares(room) >= _BALL * _BALL
    numbers, _ = label(centres)
    inner = (slice(margin, -margin),) * 3
    touched = _squares(numbers == numbers[0, 0, 0]) <= _BALL * _BALL
    return touched[inner] & ~walls


@njit(nogil=True, cache=True)
def _squares(marked):
    """Squared distance (m, m, m) i16 to the nearest marked cell, up to what is just beyond the large ball."""
    n0, n1, n2 = marked.shape
    far = np.int16((_BALL + 1) ** 2)
    before = np.empty((n0, n1, n2), np.int16)
    after = np.empty((n0, n1, n2), np.int16)
    for i in range(n0):
        for j in range(n1):
            for direction in range(2):
                since = _BALL + 1
                for step in range(n2):
                    k = n2 - 1 - step if direction else step
                    since = 0 if marked[i, j, k] else min(since + 1, _BALL + 1)
                    square = np.int16(since * since)
                    if direction == 0 or square < before[i, j, k]:
                        before[i, j, k] = square
    for i in range(n0):
        for j in range(n1):
            after[i, j] = far
            for other in range(max(0, j - _BALL), min(n1, j + _BALL + 1)):
                plus = np.int16((other - j) ** 2)
                for k in range(n2):
                    after[i, j, k] = min(after[i, j, k], np.int16(before[i, other, k] + plus))
    for i in range(n0):
        before[i] = far
        for other in range(max(0, i - _BALL), min(n0, i + _BALL + 1)):
            plus = np.int16((other - i) ** 2)
            for j in range(n1):
                for k in range(n2):
                    before[i, j, k] = min(before[i, j, k], np.int16(after[other, j, k] + plus))
    return before


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
    n0, n1, n2 = free.shape
    total = np.zeros((n0, n1, n2), np.float32)
    before, after = np.ones((n1 + 2, n2 + 2), np.float32), np.ones((n1 + 2, n2 + 2), np.float32)
    for n in range(len(towards)):
        # A layer takes its light from the next one towards the source, moved by (u, v).
        u, v = towards[n, 1] / abs(towards[n, 0]), towards[n, 2] / abs(towards[n, 0])
        i0, j0 = 1 + int(math.floor(u)), 1 + int(math.floor(v))
        s, t = np.float32(u - math.floor(u)), np.float32(v - math.floor(v))
        one = np.float32(1)
        w00, w01, w10, w11 = (one - s) * (one - t), (one - s) * t, s * (one - t), s * t
        before[:] = one
        for step in range(n0):
            layer = n0 - 1 - step if towards[n, 0] > 0 else step
            for i in range(n1):
                low, high = before[min(i + i0, n1 + 1)], before[min(i + i0 + 1, n1 + 1)]
                row, sums, passes = after[i + 1], total[layer, i], free[layer, i]
                for j in range(n2 - 1):
                    value = w00 * low[j + j0] + w01 * low[j + j0 + 1]
                    value += w10 * high[j + j0] + w11 * high[j + j0 + 1]
                    row[j + 1] = value * passes[j]
                    sums[j] += row[j + 1]
                j = n2 - 1  # the grid's rim is free, and lit from beyond
                row[j + 1] = passes[j]
                sums[j] += passes[j]
            before, after = after, before
    return total
