"""Points near a surface -> their nearest points on it, found by way of a grid's nearest faces.

N points · V vertices · F faces · n corners of the grid along a side. All in cells.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from backend.geometry.surface import closest_point

_THREADS = 2


@dataclass(frozen=True)
class Nearest:
    """faces (N,) i32 or −1 where none is near · weights (N, 3) of their corners · points, normals (N, 3)."""

    faces: np.ndarray
    weights: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    distances: np.ndarray

    def near(self, reach: float) -> np.ndarray:
        """Which (N,) have a point within `reach`."""
        return (self.faces >= 0) & (self.distances <= reach)

    def values(self, at_vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Values (N, C) at the nearest points from those at vertices (V, C)."""
        corners = at_vertices[faces[self.faces]]
        return np.einsum("nk,nkc->nc", self.weights, corners).astype(at_vertices.dtype)


def nearest_on_faces(
    points: np.ndarray, grid_faces: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> Nearest:
    """The nearest points to `points` (N, 3) on the faces that grid_faces (n, n, n) names around each."""
    with ThreadPoolExecutor(_THREADS) as pool:
        searches = pool.map(
            lambda some: _search(some, grid_faces, vertices, faces), np.array_split(points, _THREADS)
        )
        found, weights, squares, nearest, normals = map(np.concatenate, zip(*searches, strict=True))
    return Nearest(found, weights, nearest, normals, np.sqrt(squares))


@njit(nogil=True, cache=True)
def _search(points, grid_faces, vertices, faces):
    count, (n0, n1, n2) = len(points), grid_faces.shape
    found = np.full(count, -1, np.int32)
    weights, nearest, normals = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros((count, 3))
    squares = np.full(count, np.inf)
    for n in range(count):
        x, y, z = np.floor(points[n])
        for corner in range(8):
            i = min(max(int(x) + (corner & 1), 0), n0 - 1)
            j = min(max(int(y) + (corner >> 1 & 1), 0), n1 - 1)
            k = min(max(int(z) + (corner >> 2), 0), n2 - 1)
            f = grid_faces[i, j, k]
            if f < 0 or f == found[n]:
                continue
            a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
            square, s, t = closest_point(points[n], a, b, c)
            if square < squares[n]:
                found[n], squares[n] = f, square
                weights[n, 0], weights[n, 1], weights[n, 2] = 1.0 - s - t, s, t
        if found[n] < 0:
            continue
        f = found[n]
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        nearest[n] = weights[n, 0] * a + weights[n, 1] * b + weights[n, 2] * c
        normal = np.cross(b - a, c - a)
        length = np.sqrt((normal * normal).sum())
        if length > 0:
            normals[n] = normal / length
    return found, weights, squares, nearest, normals
