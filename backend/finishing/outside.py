"""Which corners of a grid lie outside an object whose surface has gaps: distances, then a flood around it.

A ball of the radius `gap` that rolls around the object cannot enter openings narrower than itself; what it
does not reach is inside. Distances are in cells. n corners along a side · F faces · V vertices.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from backend.geometry.surface import closest_point, nearest_faces

_FIRST_BAND = 1.0  # cells within which every face looks for its corners
BEYOND = 1.25  # cells beyond the ball's radius that distances are needed for
_TOUCH = 0.75  # cells; how far beyond the ball a corner may lie that counts as touched
_MARGIN = 0.1  # cells; balls that touch from both sides of the surface are not joined


def close_distances(
    grid: np.ndarray, faces: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Unsigned distance f32 to the faces and the nearest face i32, or 1 and −1 where farther, (n, n, n).

    grid: vertices (V, 3) f64 in cells, all of them within the grid of that shape.
    """
    half = shape[0] // 2

    def slab(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.array([first, 0, 0]), np.array([last, shape[1] - 1, shape[2] - 1])
        return nearest_faces(grid, faces, shape, _FIRST_BAND, low, high)

    with ThreadPoolExecutor(2) as pool:
        upper = pool.submit(slab, half, shape[0] - 1)
        distance, nearest = slab(0, half - 1)
    distance[half:], nearest[half:] = (part[half:] for part in upper.result())
    return distance, nearest


def spread(
    distance: np.ndarray, nearest: np.ndarray, grid: np.ndarray, faces: np.ndarray, band: float
) -> None:
    """Carry distances and nearest faces (n, n, n) on in place, `band` far; what is farther becomes `band`."""
    distance[nearest < 0] = band
    _spread(distance, nearest, grid, faces)


def reached(distance: np.ndarray, gap: float, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, n, n) bool that the ball touches, how far f32 each is from its centres, up to gap + 2.

    A centre keeps the distance `gap` from the surface, so what its ball touches lies before the surface, and
    so does a corner beyond the ball whose own distance from the surface bridges the rest. Centres stay in the
    cells `allowed` (m, m, m) bool of two corners a side.
    """
    to_centre = _to_centres(_flood(distance, np.float32(gap), allowed), distance, gap)
    slack = np.minimum(distance, np.float32(_TOUCH)) - np.float32(_MARGIN)
    return to_centre <= gap + slack, to_centre


@njit(nogil=True, cache=True)
def _spread(distance, nearest, grid, faces):
    """Hands the nearest face on from corner to corner, as far as it improves the distance."""
    n0, n1, n2 = distance.shape
    flat, face = distance.reshape(-1), nearest.reshape(-1)
    queue = np.flatnonzero(face >= 0)
    p = np.zeros(3)
    while len(queue) > 0:
        following = np.empty(len(queue) * 6, np.int64)
        count = 0
        for row in queue:
            f = face[row]
            a, b, c = grid[faces[f, 0]], grid[faces[f, 1]], grid[faces[f, 2]]
            x, y, z = row // (n1 * n2), row // n2 % n1, row % n2
            for side in range(6):
                step = 1 if side % 2 else -1
                i = x + step if side < 2 else x
                j = y + step if side // 2 == 1 else y
                k = z + step if side >= 4 else z
                if min(i, j, k) < 0 or i >= n0 or j >= n1 or k >= n2:
                    continue
                other = (i * n1 + j) * n2 + k
                if face[other] == f or flat[other] < flat[row]:
                    continue
                p[0], p[1], p[2] = i, j, k
                d = np.float32(math.sqrt(closest_point(p, a, b, c)[0]))
                if d < flat[other]:
                    flat[other] = d
                    face[other] = f
                    following[count] = other
                    count += 1
        queue = following[:count].copy()


@njit(nogil=True, cache=True)
def _flood(distance, gap, allowed):
    """The corners (n, n, n) bool at least `gap` from the surface that are joined to the grid's corner."""
    n0, n1, n2 = distance.shape
    inside = np.zeros(distance.size, np.bool_)
    flat = distance.reshape(-1)
    stack = np.empty(distance.size, np.int32)
    stack[0] = 0
    inside[0] = True
    height = 1
    while height > 0:
        height -= 1
        row = stack[height]
        x, y, z = row // (n1 * n2), row // n2 % n1, row % n2
        for side in range(6):
            step = 1 if side % 2 else -1
            i = x + step if side < 2 else x
            j = y + step if side // 2 == 1 else y
            k = z + step if side >= 4 else z
            if min(i, j, k) < 0 or i >= n0 or j >= n1 or k >= n2:
                continue
            other = (i * n1 + j) * n2 + k
            if not inside[other] and flat[other] >= gap and allowed[i // 2, j // 2, k // 2]:
                inside[other] = True
                stack[height] = other
                height += 1
    return inside.reshape(n0, n1, n2)


@njit(nogil=True, cache=True)
def _to_centres(centres, distance, gap):
    n0, n1, n2 = centres.shape
    reach = int(math.ceil(gap + _TOUCH))
    far = np.float32(gap + 2)
    to_centre = np.full(centres.shape, far, np.float32)
    for x in range(n0):
        for y in range(n1):
            for z in range(n2):
                if not centres[x, y, z]:
                    continue
                to_centre[x, y, z] = 0.0
                if distance[x, y, z] > gap + 1:  # not at the rim of the region
                    continue
                for i in range(max(0, x - reach), min(n0, x + reach + 1)):
                    for j in range(max(0, y - reach), min(n1, y + reach + 1)):
                        plane = (i - x) ** 2 + (j - y) ** 2
                        for k in range(max(0, z - reach), min(n2, z + reach + 1)):
                            if centres[i, j, k]:
                                continue
                            d = np.float32(math.sqrt(plane + (k - z) ** 2))
                            if d < to_centre[i, j, k]:
                                to_centre[i, j, k] = d
    return to_centre
