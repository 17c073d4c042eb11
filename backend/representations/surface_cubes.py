"""From the mesh decoder's channels to the cubes that the surface passes through.

Dims: N active cubes · S surface cubes · K corners of surface cubes · R resolution.
"""

from dataclasses import dataclass

import torch

from backend.representations.cube_grid import (
    Check,
    CornerGrid,
    beyond,
    corner_mean,
    corner_positions,
    corner_steps,
    find,
    linear,
    take,
    unchecked,
    unlinear,
)
from backend.representations.flexicubes_tables import CORNERS


@dataclass(frozen=True)
class CubeFeatures:
    """The mesh decoder's channels, named."""

    sdf: torch.Tensor  # (N, 8, 1), negative inside
    deform: torch.Tensor  # (N, 8, 3)
    weights: torch.Tensor  # (N, 21): 12 edges, 8 corners, 1 for the split of quads
    color: torch.Tensor | None  # (N, 8, 6) colour and normal map before the sigmoid

    @property
    def attributes(self) -> list[torch.Tensor]:
        """What belongs to corners: distance, offset and, if there is one, colour."""
        return [self.sdf, self.deform] + ([] if self.color is None else [self.color])


@dataclass(frozen=True)
class SurfaceCubes:
    """Cubes in ascending order, and the corners they use in any order."""

    keys: torch.Tensor  # (S,)
    weights: torch.Tensor  # (S, 21), zero for cubes that are not active
    corners: torch.Tensor  # (S, 8) row in `sdf` and `points`
    sdf: torch.Tensor  # (K,)
    points: torch.Tensor  # (K, 3), or with colour (K, 9): position and attributes in (0, 1)

    @property
    def inside(self) -> torch.Tensor:
        """Which corners (S, 8) lie inside."""
        return take(self.sdf < 0, self.corners)


def split_features(features: torch.Tensor, resolution: int) -> CubeFeatures:
    """Name the channels (N, 53 or 101), in float32 or, if they come so, float64.

    The distances get the bias with which an untrained decoder shows the shell of its active cubes.
    """
    assert features.shape[1] in (53, 101), features.shape
    features = features if features.dtype == torch.float64 else features.float()
    sdf, deform, weights, color = features.split([8, 24, 21, features.shape[1] - 53], dim=1)
    return CubeFeatures(
        sdf=(sdf - 1 / resolution)[..., None],
        deform=deform.unflatten(1, (8, 3)),
        weights=weights,
        color=color.unflatten(1, (8, 6)) if color.shape[1] else None,
    )


def find_surface(
    grid: CornerGrid, sdf: torch.Tensor, split: CubeFeatures, check: Check = unchecked
) -> SurfaceCubes:
    """Cubes with corners on both sides, given the mean distance `sdf` at the grid's corners.

    An inactive cube belongs to them when it touches an inside corner: it closes the surface there. A corner
    that no active cube touches has the defaults: distance 1, no offset, grey.

    Corners beyond the unit cube lie outside, each at the place of the nearest one in it and with its
    attributes: so the cubes there close the surface with a cap along the border.
    """
    inside = take(sdf < 0, grid.index)
    active = torch.nonzero(inside.any(1) & ~inside.all(1))[:, 0]
    extra_keys, extra_corners = _inactive_surface(grid, sdf < 0, check)
    extra_rows = find(grid.keys, extra_corners)

    check()
    # Number the used corners anew: known ones first, then those that belong to no active cube.
    used = torch.zeros(len(sdf), dtype=torch.bool, device=sdf.device)
    active_corners = take(grid.index, active)
    used.index_fill_(0, active_corners.flatten(), True)
    used[extra_rows[extra_rows >= 0]] = True
    number = torch.where(used, torch.cumsum(used, 0) - 1, -1)
    unknown = torch.unique(extra_corners[extra_rows < 0])
    known_keys = grid.keys[used]
    extra_numbers = torch.where(
        extra_rows >= 0,
        take(number, extra_rows.clamp_min(0)),
        len(known_keys) + torch.searchsorted(unknown, extra_corners),
    )

    check()
    keys, order = torch.sort(torch.cat([grid.cubes[active], extra_keys]))
    weights = torch.cat([take(split.weights, active), split.weights.new_zeros(len(extra_keys), 21)])
    check()
    corner_keys = torch.cat([known_keys, unknown])
    return SurfaceCubes(
        keys=keys,
        weights=take(weights, order),
        corners=take(torch.cat([take(number, active_corners), extra_numbers]), order),
        sdf=torch.cat([sdf[used], sdf.new_ones(len(unknown))]),
        points=_corner_points(grid, split, number, corner_keys, len(known_keys), check),
    )


def _corner_points(
    grid: CornerGrid,
    split: CubeFeatures,
    number: torch.Tensor,
    keys: torch.Tensor,
    known: int,
    check: Check,
) -> torch.Tensor:
    """Position and, with colour, attributes of the corners `keys` (K,); from `known` on with defaults."""
    means = corner_mean(split.attributes[1:], take(number, grid.index), known, check)
    check()
    means = torch.nn.functional.pad(means, (0, 0, 0, len(keys) - known))
    side = grid.resolution + 1
    coords = unlinear(keys[known:], side)
    nearest = linear(coords - beyond(coords, side, grid.border), side)
    points = corner_positions(grid, torch.cat([keys[:known], nearest]), means[:, :3])
    points = torch.cat([points, torch.sigmoid(means[:, 3:])], dim=1)
    rows = find(keys[:known], nearest)
    points[known:] = torch.where((rows >= 0)[:, None], points[rows], points[known:])
    return points


def _inactive_surface(
    grid: CornerGrid, inside: torch.Tensor, check: Check
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys (E,) and corner keys (E, 8) of inactive cubes with corners on both sides of the surface."""
    side, device = grid.resolution + 1, grid.keys.device
    # A corner that eight active cubes share has no inactive neighbour.
    shares = torch.bincount(grid.index.flatten(), minlength=len(grid.keys))
    corners = unlinear(grid.keys[inside & (shares < 8)], side)
    cubes = (corners[:, None] - torch.tensor(CORNERS, device=device)).flatten(0, 1)
    cubes = cubes[((cubes >= 0) & (cubes < grid.resolution)).all(1)]
    check()
    keys = torch.unique(linear(cubes, grid.resolution))
    check()
    keys = keys[find(torch.sort(grid.cubes)[0], keys) < 0]
    corner_keys = linear(unlinear(keys, grid.resolution), side)[:, None] + corner_steps(side, device)
    rows = find(grid.keys, corner_keys)
    # Every one of these cubes has a corner inside, so the surface is there unless all are.
    surface = ~((rows >= 0) & take(inside, rows.clamp_min(0))).all(1)
    return keys[surface], corner_keys[surface]
