"""How alike two pictures (S, S, 3) in [0, 1] are: PSNR and SSIM (Wang et al. 2004)."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

LARGEST_PSNR = 100.0  # decibels, where pictures are equal: a mean over objects must stay finite
_SIGMA, _REACH = 1.5, 5  # an 11 × 11 Gaussian window
_C1, _C2 = 0.01**2, 0.03**2


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
