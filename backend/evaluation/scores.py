"""All scores of one prediction against one truth, both in the unit cube.

V vertices · F faces · N sampled points · R resolution · S picture size.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from backend.evaluation.prediction import Prediction
from backend.evaluation.unit_cube import RESOLUTION, Placement, place_gaussians
from backend.geometry.mesh_files import Asset
from backend.geometry.render import render_whole
from backend.geometry.scene import Scene, turned_mesh
from backend.geometry.splat_render import render_gaussians
from backend.geometry.views import Light, View, fitting_distance
from backend.geometry.voxelize import sampled_occupancy
from backend.representations.gaussians import Gaussians

Scores = dict[str, float | None]

KEYS = ("iou", "voxel_fscore_005", "chamfer", "fscore_005", "fscore_002", "psnr", "ssim", "seconds")
RADIUS = 0.05  # in the unit cube
POINTS = 10_000
_R2 = np.array([0.7548776662466927, 0.5698402909980532])  # powers of the plastic number's inverse
LARGEST_PSNR = 100.0  # decibels, where pictures are equal: a mean over objects must stay finite
_SIGMA, _REACH = 1.5, 5  # an 11 × 11 Gaussian window
_C1, _C2 = 0.01**2, 0.03**2
_PICTURE_SIZE = 256
_DIRECTIONS = tuple(math.radians(45 + 90 * n) for n in range(4))  # from the picture's azimuth
# The field of view holds the whole unit cube from every side; the light leaves colours as they are.
_FOV = math.radians(40)
_VIEW = View(0.0, math.radians(15), _FOV, fitting_distance(_FOV), Light((0.0, -1.0, 0.0), 1.0, 0.0))


class Truth:
    """A scene as the camera sees it, with what is compared: mesh, voxels, pictures from other sides."""

    def __init__(self, scene: Scene) -> None:
        self.mesh = scene.mesh

    @cached_property
    def occupied(self) -> np.ndarray:
        """(R, R, R) bool."""
        return sampled_occupancy(self.mesh.vertices, self.mesh.faces, RESOLUTION)

    @cached_property
    def renders(self) -> list[np.ndarray]:
        """Unlit pictures (S, S, 3) from the scored directions."""
        return mesh_renders(self.mesh)


def score(prediction: Prediction, truth: Truth) -> Scores:
    """Every key of KEYS; None for pictures and seconds where the prediction has none."""
    scores: Scores = {
        "iou": iou(prediction.occupied, truth.occupied),
        "voxel_fscore_005": voxel_f_score(prediction.occupied, truth.occupied),
        **surface_scores(prediction.mesh, truth.mesh),
        **_picture_scores(prediction, truth),
        "seconds": prediction.seconds,
    }
    return {key: scores[key] for key in KEYS}


def _picture_scores(prediction: Prediction, truth: Truth) -> Scores:
    if prediction.gaussians is not None:
        renders = gaussian_renders(prediction.gaussians)
    elif prediction.seconds is not None:  # a model that found nothing shows nothing
        renders = [np.zeros_like(one) for one in truth.renders]
    else:
        return {"psnr": None, "ssim": None}
    pairs = list(zip(renders, truth.renders, strict=True))
    return {
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a, b) for a, b in pairs])),
    }


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of every key; None where no object has a number."""
    means: Scores = {}
    for key in scores[0]:
        numbers = [one[key] for one in scores]
        known = [number for number in numbers if number is not None]
        means[key] = float(np.mean(known)) if known else None
    return means


def mesh_renders(mesh: Asset) -> list[np.ndarray]:
    """The mesh from the scored directions, unlit, on black: (S, S, 3) f32 each."""
    return [render_whole(turned_mesh(mesh, azimuth), _VIEW, _PICTURE_SIZE).color for azimuth in _DIRECTIONS]


def gaussian_renders(gaussians: Gaussians) -> list[np.ndarray]:
    """The Gaussians from the scored directions, on black: (S, S, 3) f32 each."""
    return [
        render_gaussians(place_gaussians(gaussians, Placement(azimuth)), _VIEW, _PICTURE_SIZE)
        for azimuth in _DIRECTIONS
    ]


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
