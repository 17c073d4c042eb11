"""How alike two shapes or two pictures are: voxels, surfaces by sampled points, and pictures.

V vertices · F faces · N sampled points · R resolution · S picture size.
"""

import math

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from backend.geometry.mesh_files import Asset

RADIUS = 0.05  # in the unit cube
POINTS = 10_000
LARGEST_PSNR = 100.0  # decibels, where pictures are equal: a mean over objects must stay finite
_R2 = np.array([0.7548776662466927, 0.5698402909980532])  # powers of the plastic number's inverse
_SIGMA, _REACH = 1.5, 5  # an 11 × 11 Gaussian window
_C1, _C2 = 0.01**2, 0.03**2


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Voxels (R, R, R) in both over voxels in either; 0 where both are empty."""
    either = int((predicted | truth).sum())
    return float((predicted & truth).sum()) / either if either else 0.0


def voxel_f_score(predicted: np.ndarray, truth: np.ndarray, radius: float = RADIUS) -> float:
    """Harmonic mean of the shares of voxels (R, R, R) whose centre has a counterpart within the radius.

    The cube's side is 1. 0 where one is empty.
    """
    return f_score_of_distances(predicted, distances(predicted), truth, distances(truth), radius)


def distances(occupied: np.ndarray) -> np.ndarray:
    """From every voxel's centre to the nearest occupied one's: (R, R, R), the cube's side 1; inf if none."""
    if not occupied.any():
        return np.full(occupied.shape, np.inf)
    return ndimage.distance_transform_edt(~occupied) / len(occupied)


def f_score_of_distances(
    predicted: np.ndarray, to_predicted: np.ndarray, truth: np.ndarray, to_truth: np.ndarray,
    radius: float = RADIUS,
) -> float:  # fmt: skip
    """`voxel_f_score` where the distances are known already."""
    if not (predicted.any() and truth.any()):
        return 0.0
    return f_score(to_truth[predicted], to_predicted[truth], radius)


def f_score(to_truth: np.ndarray, to_predicted: np.ndarray, radius: float) -> float:
    """Harmonic mean of the shares of points whose distance to the other side, (N,) each, is in the radius."""
    precision, recall = float((to_truth < radius).mean()), float((to_predicted < radius).mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def surface_scores(mesh: Asset, true: Asset) -> dict[str, float]:
    """F-score at 0.05 and 0.02 and the Chamfer distance (mean of both mean nearest distances) of surfaces.

    10k points each way; zeros for an empty mesh.
    """
    if len(mesh.faces) == 0:
        return {"fscore_005": 0.0, "fscore_002": 0.0, "chamfer": 1.0}
    # The same numbers for both: a surface compared with itself has no distance at all.
    predicted = sample_surface(mesh.vertices, mesh.faces, POINTS, np.random.default_rng(0))
    truth = sample_surface(true.vertices, true.faces, POINTS, np.random.default_rng(0))
    to_truth, to_predicted = cKDTree(truth).query(predicted)[0], cKDTree(predicted).query(truth)[0]
    return {
        "fscore_005": f_score(to_truth, to_predicted, 0.05),
        "fscore_002": f_score(to_truth, to_predicted, 0.02),
        "chamfer": float(to_truth.mean() + to_predicted.mean()) / 2,
    }


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


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels."""
    error = float(np.square(a.astype(np.float64) - b).mean())
    return LARGEST_PSNR if error == 0 else min(LARGEST_PSNR, -10 * math.log10(error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity, mean over the channels and over the windows that lie inside the picture."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = _window(a), _window(b)
    variance_a, variance_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return float((light * structure)[_REACH:-_REACH, _REACH:-_REACH].mean())


def _window(image: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(image, (_SIGMA, _SIGMA, 0), truncate=_REACH / _SIGMA)
