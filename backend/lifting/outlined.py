"""What decoders draw, kept to the outline of its picture.

A structured latent has a few numbers for a voxel that is several pixels wide, so what is decoded of it fills
narrow gaps and loses thin ends. The picture tells both.
N Gaussians · n corners of cubes a side. Lengths are in cells of the outline's grid.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.lifting.outline import Outline, sampled
from backend.representations.cube_grid import unlinear
from backend.representations.gaussians import Gaussians, covariance

_CUBES_A_VOXEL = 4  # along a side; distances at corners are in voxels
_SLIMMEST = 0.4  # half the width that the thinnest parts have
_MOST_LACKING = 1.0  # of the outline
_FULLER = 1.5  # times what it lacks a solid is made thicker there, for that is less where it is smoothed
_DEEP = 2.0  # from the outline inwards to where nothing changes
_AROUND = 5  # pixels
_WITHIN = 1.5  # standard deviations of a Gaussian, across the outline, that it holds
_MOVES, _FARTHEST = 2, 4.0  # how often, and how far at once, a Gaussian is moved inwards
_STEP = 0.25  # for slopes
_FAINT = 0.02  # opacity of what still lies beside, as decoders learn it of Gaussians without a surface


def outlined_distances(distance: Tensor, outline: Outline) -> tuple[Tensor, Tensor]:
    """Distances (n, n, n) at the corners of a grid, NaN where there are none, made thicker where they lack
    something of the outline, and cut at it; and the corners (n, n, n) bool that the picture shows.
    """
    side = len(distance)
    cell = _CUBES_A_VOXEL * outline.cells / (side - 1)
    used = torch.nonzero(distance.isfinite().flatten())[:, 0]
    told, points = distance.flatten()[used] * cell, unlinear(used, side) / (side - 1) - 0.5
    beside = outline.beside_at(points, _SLIMMEST)
    fuller = told - _lacking(points, told, outline) * (1 + beside / _DEEP).clamp(0, 1)
    cut = torch.where(beside > -_DEEP, torch.maximum(fuller, beside), told) / cell
    shown = F.interpolate(outline.beside()[None, None], (side,) * 3, mode="trilinear", align_corners=True) < 0
    changed, shown = (
        whole.flatten().index_put((used,), part) for whole, part in ((distance, cut), (shown, beside < 0))
    )
    return changed.view_as(distance), shown.view_as(distance)


def _lacking(points: Tensor, distance: Tensor, outline: Outline) -> Tensor:
    """How much thicker a solid must be near points (N, 3) to be seen wherever the outline shows it, smoothly:
    distance (N,) of these points to the solid. Thicker everywhere, it would be cut flat all round.
    """
    places = outline.seen(outline.camera.project(points)[0])
    # What is nearest to the solid in a pixel lies half a pixel before its middle.
    lack = (outline.least_seen(places, distance) + outline.pixel / 2).clamp(0, _MOST_LACKING)
    lack = F.max_pool2d(torch.where(outline.alpha > 0.5, lack, 0.0)[None], _AROUND, 1, _AROUND // 2)
    smooth = F.avg_pool2d(lack, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    return _FULLER * sampled(smooth[0], places)


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
