"""What decoders draw, kept to the outline of its picture.

A structured latent has a few numbers for a voxel that is several pixels wide, so what is decoded of it fills
narrow gaps and loses thin ends. The picture tells both.
N Gaussians · n corners of cubes a side. Lengths are in cells of the outline's grid.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.lifting.outline import Outline
from backend.representations.cube_grid import unlinear
from backend.representations.gaussians import Gaussians, covariance

_CUBES_A_VOXEL = 4  # along a side; distances at corners are in voxels
_SLIMMEST = 0.4  # half the width that the thinnest parts have
_FULLER = 1.0  # how much thicker a solid is made at the outline, before it is cut there
_DEEP = 2.0  # from the outline inwards to where nothing changes
_WITHIN = 1.5  # standard deviations of a Gaussian, across the outline, that it holds
_MOVES, _FARTHEST = 2, 4.0  # how often, and how far at once, a Gaussian is moved inwards
_STEP = 0.25  # for slopes
_FAINT = 0.02  # opacity of what still lies beside, as decoders learn it of Gaussians without a surface


def outlined_distances(distance: Tensor, outline: Outline) -> tuple[Tensor, Tensor]:
    """Distances (n, n, n) at the corners of a grid, NaN where there are none, cut at the outline; and the
    corners (n, n, n) bool that the picture shows.
    """
    side = len(distance)
    cell = _CUBES_A_VOXEL * outline.cells / (side - 1)
    used = torch.nonzero(distance.isfinite().flatten())[:, 0]
    told = distance.flatten()[used]
    beside = outline.beside_at(unlinear(used, side) / (side - 1) - 0.5, _SLIMMEST)
    fuller = told * cell - fullness(beside)
    cut = torch.where(beside > -_DEEP, torch.maximum(fuller, beside) / cell, told)
    shown = F.interpolate(outline.beside()[None, None], (side,) * 3, mode="trilinear", align_corners=True) < 0
    changed, shown = (
        whole.flatten().index_put((used,), part) for whole, part in ((distance, cut), (shown, beside < 0))
    )
    return changed.view_as(distance), shown.view_as(distance)


def fullness(beside: Tensor) -> Tensor:
    """How much thicker a solid is made at places that lie so far beside the outline, negative on it."""
    return _FULLER * (1 + beside / _DEEP).clamp(0, 1)


def outlined_gaussians(gaussians: Gaussians, outline: Outline) -> Gaussians:
    """The same, those that reach beyond the outline moved inwards."""
    xx, xy, xz, yy, yz, zz = (covariance(gaussians) * outline.cells**2).unbind(1)
    spread = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=1).view(-1, 3, 3)
    place = gaussians.position
    for _ in range(_MOVES):
        slope = _slope(outline, place)
        # Where two sides of an outline meet the slope is less than 1 and means little.
        length = slope.square().sum(1).clamp(min=_STEP)
        across = torch.einsum("ni,nij,nj->n", slope, spread, slope).clamp(min=0)
        reach = _WITHIN * (across / length).sqrt()
        over = (outline.beside_at(place, _SLIMMEST) + reach).clamp(0, _FARTHEST)
        place = place - (over / length / outline.cells)[:, None] * slope
    lost = outline.beside_at(place, _SLIMMEST) > reach
    opacity = torch.where(lost[:, None], gaussians.opacity.clamp(max=_FAINT), gaussians.opacity)
    return replace(gaussians, position=place, opacity=opacity)


def _slope(outline: Outline, points: Tensor) -> Tensor:
    """Of the distance beside the outline, at points (N, 3): (N, 3)."""
    steps = _STEP / outline.cells * torch.eye(3, dtype=points.dtype, device=points.device)
    ends = (
        outline.beside_at(points + step, _SLIMMEST) - outline.beside_at(points - step, _SLIMMEST)
        for step in steps
    )
    return torch.stack(list(ends), dim=1) / (2 * _STEP)
