"""How well pictures become shapes: F-score between surfaces, in the unit cube and the model's own frame.

V vertices · F faces · N sampled points.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

POINTS = 10_000


def sample_surface(
    vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """count points (N, 3) uniform on the surface."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), size=count, p=area / area.sum())
    u, v = rng.random((2, count))
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
    rng = np.random.default_rng(0)
    predicted = sample_surface(vertices, faces, POINTS, rng)
    truth = sample_surface(true_vertices, true_faces, POINTS, rng)
    return {
        "fscore_005": f_score(predicted, truth, 0.05),
        "fscore_002": f_score(predicted, truth, 0.02),
        "chamfer": chamfer(predicted, truth),
    }
