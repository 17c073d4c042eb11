"""How alike two occupancies are: overlap, and F-score between the centres of their voxels. R resolution."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

RADIUS = 0.05  # in the unit cube


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
    predicted: np.ndarray,
    to_predicted: np.ndarray,
    truth: np.ndarray,
    to_truth: np.ndarray,
    radius: float = RADIUS,
) -> float:
    """`voxel_f_score` where the distances are known already."""
    if not (predicted.any() and truth.any()):
        return 0.0
    precision = float((to_truth[predicted] < radius).mean())
    recall = float((to_predicted[truth] < radius).mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)
