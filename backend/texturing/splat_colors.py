"""The colour of a surface among Gaussians: the mean of those near each point, by their density there.

P points · N Gaussians.
"""

import math

import numpy as np
import torch
from numba import njit

from backend.representations.gaussians import SH_C0, Gaussians
from backend.representations.rotations import rotation_matrices
from backend.texturing.texels import box_of

_CELLS = 128  # along a side of the box that the points span
_LEAST_DENSITY = 0.01
# Splats are widened by this share of the distance between them: few and narrow ones would show as tiles.
_SOFTENING = 0.7
_WIDEST = 0.1  # the farthest that a splat reaches


def splat_colors(
    surface: np.ndarray, gaussians: Gaussians, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (P, 3) f32 in [0, 1] at those of a surface's points (Q, 3) whose indices (P,) are wanted, and
    the summed density (P,): 0 where no splat is near.

    The density of a splat at a point is its opacity times its fall-off there.
    """
    points = surface[wanted]
    colors, total = np.zeros((len(points), 3), np.float32), np.zeros(len(points), np.float32)
    if len(points) == 0 or len(gaussians) == 0:
        return colors, total
    low, side = box_of(surface)
    cells = np.minimum((surface - low) * (_CELLS / side), _CELLS - 1).astype(np.int32)
    keys = (cells[:, 0] * _CELLS + cells[:, 1]) * _CELLS + cells[:, 2]
    occupied = int(np.count_nonzero(np.bincount(keys)))
    keys = keys[wanted]
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange(_CELLS**3 + 1)).astype(np.int64)
    sums = np.zeros((len(points), 4), np.float32)
    splats = _splats(gaussians, low, side, occupied)
    _accumulate(points[order].astype(np.float32), starts, sums, *splats)
    total[order] = sums[:, 3]
    colors[order] = sums[:, :3] / np.maximum(sums[:, 3:], 1e-12)
    return colors, total


def _splats(gaussians: Gaussians, low: np.ndarray, side: float, occupied: int) -> tuple[np.ndarray, ...]:
    """Centres (N, 3), inverse covariances (N, 6), cells each reaches (N, 6), limits of the squared distance,
    opacities (N,) and colours (N, 3) of the splats that count. `occupied` cells hold points.
    """
    opacity = gaussians.opacity[:, 0].cpu().double()
    seen = opacity > _LEAST_DENSITY
    opacity, position = opacity[seen], gaussians.position.cpu().double()[seen]
    apart = side / _CELLS * math.sqrt(occupied / max(len(opacity), 1))
    scale = (gaussians.scale.cpu().double()[seen].square() + (_SOFTENING * apart) ** 2).sqrt()
    axes = rotation_matrices(gaussians.rotation.cpu().double()[seen])
    limit = 2 * torch.log(opacity / _LEAST_DENSITY)
    spread = (axes.square() * scale.square()[:, None]).sum(-1).sqrt()  # deviations along x, y, z
    reach = (limit.sqrt()[:, None] * spread).clamp_max(_WIDEST)
    scaled = axes / scale[:, None]
    inverse = scaled @ scaled.transpose(1, 2)
    rows, columns = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)
    corner, factor = torch.from_numpy(low.astype(np.float64)), _CELLS / side
    first = ((position - reach - corner) * factor).floor().clamp_min(0)
    last = ((position + reach - corner) * factor).floor().clamp_max(_CELLS - 1)
    color = (0.5 + SH_C0 * gaussians.color_dc.cpu().double()[seen]).clamp(0, 1)
    return (
        position.float().numpy(),
        inverse[:, rows, columns].float().numpy(),
        torch.cat([first, last], dim=1).to(torch.int32).numpy(),
        limit.float().numpy(),
        opacity.float().numpy(),
        color.float().numpy(),
    )


@njit(nogil=True, cache=True)
def _accumulate(points, starts, sums, centres, inverse, cells, limits, opacity, colors):
    """Adds each splat's density, and its colour times that, to the points (sorted by cell) it reaches."""
    for n in range(centres.shape[0]):
        x, y, z = centres[n, 0], centres[n, 1], centres[n, 2]
        xx, xy, xz, yy, yz, zz = inverse[n]
        for i in range(cells[n, 0], cells[n, 3] + 1):
            for j in range(cells[n, 1], cells[n, 4] + 1):
                row = (i * _CELLS + j) * _CELLS
                # Cells along z follow each other, and so do their points.
                if cells[n, 5] < cells[n, 2]:
                    continue
                for p in range(starts[row + cells[n, 2]], starts[row + cells[n, 5] + 1]):
                    dx, dy, dz = points[p, 0] - x, points[p, 1] - y, points[p, 2] - z
                    distance = xx * dx * dx + yy * dy * dy + zz * dz * dz
                    distance += 2.0 * (xy * dx * dy + xz * dx * dz + yz * dy * dz)
                    if distance < limits[n]:
                        weight = opacity[n] * math.exp(-0.5 * distance)
                        sums[p, 0] += weight * colors[n, 0]
                        sums[p, 1] += weight * colors[n, 1]
                        sums[p, 2] += weight * colors[n, 2]
                        sums[p, 3] += weight
