"""All scores of one prediction against one truth, both in the unit cube.

V vertices · F faces · N sampled points · R resolution · S picture size.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from backend.evaluation.prediction import Prediction
from backend.geometry.mesh_files import Asset
from backend.geometry.render import render_whole
from backend.geometry.scene import Scene, turned_mesh
from backend.geometry.splat_render import render_gaussians
from backend.geometry.views import Light, View, fitting_distance
from backend.geometry.voxelize import sampled_occupancy
from backend.measures.comparison import iou, psnr, ssim, surface_scores, voxel_f_score
from backend.measures.unit_cube import RESOLUTION, Placement, place_gaussians
from backend.representations.gaussians import Gaussians

Scores = dict[str, float | None]

KEYS = ("iou", "voxel_fscore_005", "chamfer", "fscore_005", "fscore_002", "psnr", "ssim", "seconds")
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
