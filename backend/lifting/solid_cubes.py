"""The solid between the surfaces that a decoder draws, for decoders that know the surface alone: what the
surface encloses is inside, and where neighbouring voxels disagree it is smooth.

L voxels · N cubes, 4³ a voxel · C numbers of a cube, K of a voxel's cubes in turn · n corners a side.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from backend.layers.sparse import subdivide_coords
from backend.representations.cube_grid import corner_mean, corner_steps, linear
from backend.representations.enclosed import made_solid

_CUBES_A_SIDE = 4  # of a voxel
_CUBES = _CUBES_A_SIDE**3
_DEEP = -1.0  # distance in voxels at the corners of what is enclosed
_SHALLOW = 0.25  # and of what is too small to be a part
_CRUMB = 150  # corners; the grid has 4³ a voxel
_GAP = 3  # corners; half the width of what is closed round a hollow
_MOSTLY = 0.3  # share of the corners of the voxels round what lies within a solid that are inside
_SPREAD = 2.0  # corners; standard deviation of what smooths the distances
_MOST = 0.25  # voxels by which a distance changes at most, so that thin parts stay
_NEAR = 3  # corners round a changed sign that are smoothed
_BESIDE = 2  # corners from the outline that are left as they are


def enclosed_voxels(coords: Tensor, rows: Tensor, resolution: int) -> Tensor:
    """What voxels coords (L, 3) with rows (L, K) enclose and lies within the solid: (resolution)³ bool.

    It does if enough of the corners round it are inside; a pocket of air may be enclosed too.
    """
    places, full = tuple(coords.cpu().numpy().T), np.zeros((resolution,) * 3, np.float32)
    taken = np.zeros((resolution,) * 3, bool)
    taken[places] = True
    groups, number = ndimage.label(ndimage.binary_fill_holes(taken) & ~taken)
    distance = rows.view(len(rows), _CUBES, -1)[..., :8]
    full[places] = (distance < 0).float().mean((1, 2)).cpu().numpy()
    around = ndimage.grey_dilation(groups, footprint=ndimage.generate_binary_structure(3, 1)) * taken
    solid = ndimage.mean(full, around, np.arange(1, number + 1)) > _MOSTLY if number else []
    return torch.from_numpy(np.concatenate([[False], solid]).astype(bool)[groups]).to(coords.device)


def with_inside(coords: Tensor, rows: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
    """Voxels coords (L, 3) and rows (L, K), and after them those `within` (R, R, R) bool, all inside."""
    more = torch.argwhere(within).to(coords)
    inside = rows.new_zeros(len(more), _CUBES, rows.shape[1] // _CUBES)
    inside[..., :8] = _DEEP
    return torch.cat([coords, more]), torch.cat([rows, inside.flatten(1)])


def corner_distances(cubes: Tensor, features: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Keys (N, 8) of the corners of cubes (N, 3) in a grid of n = resolution + 1 a side, and the distances
    (n, n, n) that the cubes' features (N, C) tell of them on average; NaN where there are none.
    """
    side = resolution + 1
    corners = linear(cubes.long(), side)[:, None] + corner_steps(side, cubes.device)
    return corners, corner_mean([features[:, :8, None]], corners, side**3).view(side, side, side)


def solid_distance(coords: Tensor, rows: Tensor, within: Tensor, resolution: int, cells: int) -> Tensor:
    """Distances (n, n, n), negative inside, in cells, of which the cube has so many a side, to the surface
    that voxels coords (L, 3) with rows (L, K) draw; within (resolution)³ bool as `enclosed_voxels` says.
    """
    coords, rows = with_inside(coords, rows, within)
    cubes = subdivide_coords(subdivide_coords(coords))
    side = _CUBES_A_SIDE * resolution
    _, told = corner_distances(cubes, rows.view(len(cubes), -1), side)
    distance = torch.from_numpy(_counted(told.cpu().numpy())).to(rows)
    stride = side // cells
    return distance[::stride, ::stride, ::stride] * cells / resolution


def smoothed(distance: Tensor) -> Tensor:
    """Distances (n, n, n) without the stripes and dents of a cube or two where voxels meet, which are decoded
    each by itself.
    """
    told = distance.cpu().numpy()
    return distance + torch.from_numpy(_smooth(told) - told).to(distance).clamp(-_MOST, _MOST)


def with_solid_signs(distance: Tensor, shown: Tensor | None = None) -> Tensor:
    """Distances (n, n, n) with signs that make closed surfaces and nothing within, smooth where they change.

    Outside is what a way along the grid's edges joins to its border without passing the surface. Where
    corners (n, n, n) bool are not `shown`, nothing is filled but what is enclosed.
    """
    told, seen = distance.cpu().numpy(), None if shown is None else shown.cpu().numpy()
    # Below it a distance is inside for extraction: another corner that is would be a part of its own.
    level = 1 / (len(told) - 1)
    inside = told < level
    solid = made_solid(inside, seen, _GAP, _CRUMB)
    changed = (solid != inside) & np.isfinite(told)
    near = ndimage.binary_dilation(changed, iterations=_NEAR)
    if seen is not None:
        near &= ndimage.binary_erosion(seen, iterations=_BESIDE)
    told = np.where(changed, np.where(solid, _DEEP, _SHALLOW), told)
    told = np.where(near, _smooth(told), told)
    told = np.where(solid, np.minimum(told, level / 2), np.maximum(told, 2 * level))
    return torch.from_numpy(told).to(distance)


def _smooth(distance: np.ndarray) -> np.ndarray:
    """Distances (n, n, n) averaged by a Gaussian, and what that takes off bends put back."""
    known = ~np.isnan(distance)
    box = ndimage.find_objects(known.astype(np.uint8))
    if not box:
        return distance
    near = np.clip(_counted(distance[box[0]]), -1, 1)
    once = _blurred(near)
    result = distance.copy()
    result[box[0]] = once + _blurred(near - once)
    return np.where(known, result, distance)


def _counted(distance: np.ndarray) -> np.ndarray:
    """Distances (n, n, n) in voxels, where no cube tells them, or they are inside for being enclosed, counted
    in steps to those that are told: they would make a step.
    """
    told = ~np.isnan(distance)
    inside = told & (distance < 0)
    steps = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    counted = (steps - 0.5 * np.sign(steps)) / _CUBES_A_SIDE
    return np.where(told & (distance > _DEEP), distance, counted).astype(np.float32)


def _blurred(values: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(values, _SPREAD, truncate=2.5, mode="nearest")
