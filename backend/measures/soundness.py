"""Whether a mesh is a surface or a sieve: its parts, their handles, and how much of it can be seen at all.

V vertices · F faces · N sampled points · S size of a depth picture.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.geometry.render import rasterise

_DIRECTIONS = 48
_SIZE = 256
_POINTS = 8192
_BEHIND = 3.0  # pixels by which a point may lie behind what is drawn and still be seen
_GOLDEN = np.pi * (3 - np.sqrt(5))


@dataclass(frozen=True)
class Soundness:
    """parts: connected pieces · genus: handles of the piece with the most faces · seen: share of the area
    that can be seen from outside, in [0, 1].
    """

    parts: int
    genus: int
    seen: float


def soundness(vertices: np.ndarray, faces: np.ndarray) -> Soundness:
    """Of a mesh of vertices (V, 3) and faces (F, 3); zeros where it has no face.

    Vertices in one and the same place count as one.
    """
    if len(faces) == 0:
        return Soundness(0, 0, 0.0)
    welded = np.unique(vertices, axis=0, return_inverse=True)[1].reshape(-1)[faces]
    parts, label = _pieces(welded)
    largest = welded[label == np.bincount(label).argmax()]
    return Soundness(parts, genus(largest), seen_share(vertices, faces))


def genus(faces: np.ndarray) -> int:
    """Handles of one connected piece (F, 3) by Euler's formula, every closed border counted as a disc."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    distinct, count = np.unique(edges, axis=0, return_counts=True)
    border = distinct[count == 1]
    holes = 0
    if len(border):
        used, ends = np.unique(border, return_inverse=True)
        holes = _components(ends.reshape(-1, 2), len(used))[0]
    euler = len(np.unique(faces)) - len(distinct) + len(faces)
    return max(0, (2 - euler - holes) // 2)


def seen_share(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Share of the area that some of 48 directions, spread evenly over the sphere, can see."""
    rng = np.random.default_rng(0)
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if area.sum() <= 0:
        return 0.0
    chosen = rng.choice(len(faces), _POINTS, p=area / area.sum())
    weights = rng.dirichlet((1.0, 1.0, 1.0), _POINTS)
    points = (corners[chosen] * weights[..., None]).sum(axis=1)
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=1).max()) or 1.0
    seen = np.zeros(_POINTS, bool)
    for towards in _sphere(_DIRECTIONS):
        frame = _frame(towards)
        drawn, tested = (_orthographic((some - middle) / radius, frame) for some in (vertices, points))
        nearest = rasterise(drawn, faces, _SIZE)[1]
        column, row = np.clip(tested[:, :2].astype(np.int64), 0, _SIZE - 1).T
        seen |= tested[:, 2] >= nearest[row, column] - _BEHIND * 2 / _SIZE
    return float(seen.mean())


def _pieces(faces: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of connected pieces, and of each face (F,) which one it belongs to."""
    used, compact = np.unique(faces, return_inverse=True)
    compact = compact.reshape(-1, 3)
    number, label = _components(compact[:, [0, 1, 1, 2]].reshape(-1, 2), len(used))
    return number, label[compact[:, 0]]


def _components(pairs: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    joined = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(count, count))
    number, label = connected_components(joined, directed=False)
    return int(number), label


def _orthographic(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(N, 3) in the unit ball -> column and row in pixels, and nearness, above 0."""
    right, up, ahead = (points @ frame.T).T
    return np.stack([(right + 1) / 2 * _SIZE, (1 - up) / 2 * _SIZE, 2 - ahead], axis=1)


def _frame(ahead: np.ndarray) -> np.ndarray:
    """Rows right, up, ahead (3, 3) of a camera that looks along `ahead`."""
    right = np.cross(ahead, np.eye(3)[np.abs(ahead).argmin()])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(right, ahead), ahead])


def _sphere(count: int) -> np.ndarray:
    """Unit vectors (count, 3) on a Fibonacci spiral."""
    n = np.arange(count)
    z = 1 - (2 * n + 1) / count
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(_GOLDEN * n), ring * np.sin(_GOLDEN * n), z], axis=1)
