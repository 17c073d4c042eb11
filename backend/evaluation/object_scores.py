"""All scores of one prediction against one truth, both in the unit cube."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from backend.evaluation.drawing import gaussian_renders, truth_renders
from backend.evaluation.image_scores import psnr, ssim
from backend.evaluation.prediction import Prediction
from backend.evaluation.surface_scores import surface_scores
from backend.evaluation.unit_cube import RESOLUTION
from backend.evaluation.voxel_scores import iou, voxel_f_score
from backend.geometry.mesh_files import Asset
from backend.geometry.scene import Scene
from backend.geometry.voxelize import sampled_occupancy

Scores = dict[str, float | None]

KEYS = ("iou", "voxel_fscore_005", "chamfer", "fscore_005", "fscore_002", "psnr", "ssim", "seconds")


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
        return truth_renders(self.mesh)


def score(prediction: Prediction, truth: Truth) -> Scores:
    """Every key of KEYS; None for pictures and seconds where the prediction has none."""
    scores: Scores = {
        "iou": iou(prediction.occupied, truth.occupied),
        "voxel_fscore_005": voxel_f_score(prediction.occupied, truth.occupied),
        **surface_part(prediction.mesh, truth),
        **_picture_scores(prediction, truth),
        "seconds": prediction.seconds,
    }
    return {key: scores[key] for key in KEYS}


def surface_part(mesh: Asset, truth: Truth) -> Scores:
    """Chamfer distance and F-scores of a mesh."""
    return {**surface_scores(mesh.vertices, mesh.faces, truth.mesh.vertices, truth.mesh.faces)}


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
