"""From how many sides points of a mesh can be seen: depth pictures from directions all around it.

V vertices · F faces · N points · S size of a depth picture.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from backend.geometry.render import rasterise

_GOLDEN = np.pi * (3 - np.sqrt(5))
_THREADS = 2


def seen_counts(
    vertices: np.ndarray,
    faces: np.ndarray,
    points: np.ndarray,
    directions: int = 100,
    size: int = 512,
    behind: float = 2.0,
) -> np.ndarray:
    """From how many (N,) of the directions each of points (N, 3) is seen, past the faces (F, 3).

    A point may lie `behind` pixels behind what is drawn and still be seen.
    """
    if len(points) == 0 or len(faces) == 0:
        return np.zeros(len(points), np.int64)
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=1).max()) or 1.0
    drawn, tested = ((some - middle) / radius for some in (vertices, points))

    def seen(towards: np.ndarray) -> np.ndarray:
        frame = _frame(towards)
        nearest = rasterise(_orthographic(drawn, frame, size), faces, size)[1]
        placed = _orthographic(tested, frame, size)
        column, row = np.clip(placed[:, :2].astype(np.int64), 0, size - 1).T
        return placed[:, 2] >= nearest[row, column] - behind * 2 / size

    with ThreadPoolExecutor(_THREADS) as pool:
        return np.sum(list(pool.map(seen, sphere(directions))), axis=0)


def seen_faces(vertices: np.ndarray, faces: np.ndarray, directions: int = 100, size: int = 512) -> np.ndarray:
    """Which faces (F,) are seen from some of the directions: drawn, or too small for that and not covered."""
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=1).max()) or 1.0
    placed = (vertices - middle) / radius
    centres = placed[faces].mean(axis=1)

    def seen(towards: np.ndarray) -> np.ndarray:
        frame = _frame(towards)
        drawn, nearest = rasterise(_orthographic(placed, frame, size), faces, size)
        tested = _orthographic(centres, frame, size)
        column, row = np.clip(tested[:, :2].astype(np.int64), 0, size - 1).T
        found = tested[:, 2] >= nearest[row, column] - 2 / size
        found[drawn[drawn >= 0]] = True
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        return np.any(list(pool.map(seen, sphere(directions))), axis=0)


def sphere(count: int) -> np.ndarray:
    """Unit vectors (count, 3) spread evenly: a Fibonacci spiral."""
    n = np.arange(count)
    z = 1 - (2 * n + 1) / count
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(_GOLDEN * n), ring * np.sin(_GOLDEN * n), z], axis=1)


def _orthographic(points: np.ndarray, frame: np.ndarray, size: int) -> np.ndarray:
    """(N, 3) in the unit ball -> column and row in pixels, and nearness, above 0."""
    right, up, ahead = (points @ frame.T).T
    return np.stack([(right + 1) / 2 * size, (1 - up) / 2 * size, 2 - ahead], axis=1)


def _frame(ahead: np.ndarray) -> np.ndarray:
    """Rows right, up, ahead (3, 3) of a camera that looks along `ahead`."""
    right = np.cross(ahead, np.eye(3)[np.abs(ahead).argmin()])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(right, ahead), ahead])
