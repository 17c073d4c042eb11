"""Colours of one surface carried over to the vertices of another that lies close to it.

N points · V vertices of the coloured surface · F faces.
"""

import numpy as np
from scipy.spatial import cKDTree

_NEIGHBOURS = 8
_CLOSE = 1 / 512
"""Of the unit cube: nearer differences do not count."""
_BACK = 0.02
"""What a neighbour counts that faces the other way, as one on the far side of a thin wall does."""


def carried_colors(
    points: np.ndarray,
    normals: np.ndarray,
    vertices: np.ndarray,
    vertex_normals: np.ndarray,
    colors: np.ndarray,
) -> np.ndarray:
    """Colours (N, 3) f4 at points (N, 3): means of the nearest vertices' (V, 3) that face the same way."""
    count = min(_NEIGHBOURS, len(vertices))
    distances, found = cKDTree(vertices).query(points, k=np.arange(1, count + 1), workers=-1)
    facing = (normals[:, None] * vertex_normals[found]).sum(axis=2)
    weights = np.maximum(facing, _BACK) / (distances**2 + _CLOSE**2)
    weights /= weights.sum(axis=1, keepdims=True)
    return (weights[..., None] * colors[found]).sum(axis=1).astype(np.float32)


def normals_of(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3), the faces (F, 3) weighted by area; zero where a vertex has no face."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    areas = np.cross(b - a, c - a)
    totals = np.zeros(vertices.shape)
    for corner in range(3):
        for axis in range(3):
            totals[:, axis] += np.bincount(faces[:, corner], areas[:, axis], len(vertices))
    lengths = np.linalg.norm(totals, axis=1, keepdims=True)
    return np.divide(totals, lengths, out=np.zeros_like(totals), where=lengths > 0)
