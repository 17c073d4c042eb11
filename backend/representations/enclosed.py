"""The inside of a solid whose decoder knows its surface alone: what the surface encloses is inside.

L voxels · N cubes, 4³ a voxel · C numbers of a cube, K of a voxel's cubes in turn · n corners a side.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from backend.representations.cube_grid import linear
from backend.representations.flexicubes_tables import CORNERS

_CUBES = 4**3
_DEEP = -1.0  # distance in voxels at the corners of what is enclosed
_SHALLOW = 0.25  # and of what is too small to be a part
_CRUMB = 150  # corners; the grid has 4³ a voxel
_TUNNEL = 1  # corners; half the width of what is closed everywhere
_GAP = 3  # the same, round a hollow
_MOSTLY = 0.3  # share of the corners of the voxels round what lies within a solid that are inside


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


def with_solid_signs(cubes: Tensor, features: Tensor, resolution: int, shown: Tensor | None = None) -> Tensor:
    """Features (N, C) of cubes (N, 3) of a grid of `resolution`³, with signs at their corners that make
    closed surfaces and nothing within.

    Outside is what a way along the grid's edges joins to its border without passing the surface. Where
    corners (n, n, n) bool are not `shown`, nothing is filled but what is enclosed.
    """
    side = resolution + 1
    corners = linear(cubes.long()[:, None] + torch.tensor(CORNERS, device=cubes.device), side)
    distance = features[:, :8]
    # The distances as extraction takes them: a corner that is inside for it alone would be a part of its own.
    taken = distance - 1 / resolution
    total = distance.new_zeros(side**3).index_add_(0, corners.flatten(), taken.flatten())
    inside = (total < 0).view(side, side, side).cpu().numpy()
    solid = made_solid(inside, None if shown is None else shown.cpu().numpy(), _GAP, _CRUMB)
    wanted, found = (torch.from_numpy(one).to(total.device).flatten()[corners] for one in (solid, inside))
    distance = torch.where(wanted & ~found, _DEEP, torch.where(found & ~wanted, _SHALLOW, distance))
    return torch.cat([distance, features[:, 8:]], dim=1)


def made_solid(inside: np.ndarray, shown: np.ndarray | None, gap: int, crumb: int) -> np.ndarray:
    """Corners (n, n, n) bool with the hollows and tunnels among them filled, also where up to 2 · gap corners
    are missing round a hollow, and without groups of fewer than `crumb`, unless there are no others.

    Where it is not `shown` (n, n, n) nothing is filled but what is enclosed.
    """
    if not inside.any():
        return inside
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    within, seen = inside[box], None if shown is None else shown[box]
    whole = within | _where(_closing(within, _TUNNEL), seen)
    core = _where(ndimage.binary_erosion(enclosed(_closing(whole, gap)), iterations=gap - 1), seen)
    around = _where(ndimage.binary_dilation(core, iterations=gap + 1), seen)
    whole = ndimage.binary_fill_holes(whole | _closing(whole | core, gap) & around)
    number, _ = ndimage.label(whole)
    large = np.bincount(number.ravel()) >= crumb
    large[0] = False
    result = np.zeros_like(inside)
    result[box] = large[number] if large.any() else whole
    return result


def enclosed(occupied: np.ndarray) -> np.ndarray:
    """The surface's voxels (R, R, R) with all that they hide from the left, right, front, back and above.

    Few shapes are watertight and many have no bottom, so being enclosed is too much to ask.
    """
    hidden = np.ones_like(occupied)
    for axis in range(3):
        hidden &= np.flip(np.logical_or.accumulate(np.flip(occupied, axis), axis), axis)
        if axis < 2:
            hidden &= np.logical_or.accumulate(occupied, axis)
    return hidden


def _closing(inside: np.ndarray, steps: int) -> np.ndarray:
    """The corners (n, n, n) bool without openings narrower than 2 · steps."""
    padded = ndimage.binary_closing(np.pad(inside, steps), ndimage.generate_binary_structure(3, 2), steps)
    return np.asarray(padded[(slice(steps, -steps),) * 3])


def _where(found: np.ndarray, shown: np.ndarray | None) -> np.ndarray:
    return np.asarray(found if shown is None else found & shown)
