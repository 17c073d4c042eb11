"""Carrying the difference between a picture and the other colours on to what the picture does not show.

Where a texel's own picture ends its tone would jump. So the difference is averaged in ever larger cells of
space, finest first, and added where no picture is known.
P texels · R cells a side.
"""

import numpy as np
import torch
import torch.nn.functional as F

from backend.texturing.texels import box_of

_CELLS = 16


def carried(points: np.ndarray, differences: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Differences (P, 3) at points (P, 3), known as far as weights (P,) say, smooth and known everywhere.

    All zeros where no weight is above 0.
    """
    if len(points) == 0 or not (weights > 0).any():
        return np.zeros_like(differences)
    low, side = box_of(points)
    place = (points - low) / side
    cells = np.minimum((place * _CELLS).astype(np.int64), _CELLS - 1)
    keys = (cells[:, 0] * _CELLS + cells[:, 1]) * _CELLS + cells[:, 2]
    sums = [
        np.bincount(keys, values * weights, minlength=_CELLS**3)
        for values in (*differences.T, np.ones(len(points)))
    ]
    volume = torch.from_numpy(np.stack(sums).astype(np.float32)).view(1, 4, _CELLS, _CELLS, _CELLS)
    grid = torch.from_numpy((place * 2 - 1).astype(np.float32))[None, None, None, :, [2, 1, 0]]
    filled = _pulled(volume)
    sampled = F.grid_sample(filled, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[0, :, 0, 0].T.numpy()


def _pulled(sums: torch.Tensor) -> torch.Tensor:
    """Weighted sums and weights (1, 4, R, R, R) -> means (1, 3, R, R, R); what a cell lacks comes from cells
    twice as large.
    """
    levels = [sums]
    while levels[-1].shape[-1] > 1:
        levels.append(F.avg_pool3d(levels[-1], 2) * 8)
    result = levels[-1][:, :3] / levels[-1][:, 3:]
    enough = levels[0][:, 3:].max() / 4
    for level in reversed(levels[:-1]):
        result = F.interpolate(result, scale_factor=2, mode="trilinear")
        weight = level[:, 3:]
        own = level[:, :3] / weight.clamp(min=1e-9)
        result = result + (own - result) * (weight / enough).clamp(max=1)
    return result
