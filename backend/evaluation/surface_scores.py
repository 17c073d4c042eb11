"""How well pictures become shapes: F-score and Chamfer distance between surfaces in the unit cube.

V vertices · F faces · N sampled points.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

POINTS = 10_000
_R2 = np.array([0.7548776662466927, 0.5698402909980532])  # powers of the plastic number's inverse


def sample_surface(
    vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """count points (N, 3) uniform on the surface and evenly spread.

    Evenly, or else two samples of one large surface would lie farther apart than the smaller radius.
    Faces get their share by systematic sampling, points in a face by the R2 sequence (Roberts 2018).
    """
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).cumsum()
    chosen = np.searchsorted(area, (np.arange(count) + rng.random()) / count * area[-1], side="right")
    chosen = np.minimum(chosen, len(faces) - 1)
    u, v = (rng.random((2, 1)) + _R2[:, None] * np.arange(count)) % 1
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u)[:, None], np.where(flip, 1 - v, v)[:, None]
    return a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]


def f_score(predicted: np.ndarray, truth: np.ndarray, radius: float) -> float:
    """Harmonic mean of the shares of points (N, 3) with a counterpart within the radius."""
    precision = float((cKDTree(truth).query(predicted)[0] < radius).mean())
    recall = float((cKDTree(predicted).query(truth)[0] < radius).mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def chamfer(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean of both mean nearest distances."""
    there = cKDTree(truth).query(predicted)[0].mean()
    back = cKDTree(predicted).query(truth)[0].mean()
    return float(there + back) / 2


def surface_scores(
    vertices: np.ndarray, faces: np.ndarray, true_vertices: np.ndarray, true_faces: np.ndarray
) -> dict[str, float]:
    """F-score at 0.05 and 0.02 and the Chamfer distance, with 10k points each way; zeros for an empty
    mesh.
    """
    if len(faces) == 0:
        return {"fscore_005": 0.0, "fscore_002": 0.0, "chamfer": 1.0}
    # The same numbers for both: a surface compared with itself has no distance at all.
    predicted = sample_surface(vertices, faces, POINTS, np.random.default_rng(0))
    truth = sample_surface(true_vertices, true_faces, POINTS, np.random.default_rng(0))
    return {
        "fscore_005": f_score(predicted, truth, 0.05),
        "fscore_002": f_score(predicted, truth, 0.02),
        "chamfer": chamfer(predicted, truth),
    }
