"""Sparse cubes of a regular grid and the corners they share.

Cubes and corners are named by one integer, their x-major position in the R³ cubes or (R+1)³ corners, so that
sorting and binary search take the place of dense arrays.
Dims: N active cubes · K corners of active cubes · R resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from backend.representations.flexicubes_tables import CORNERS

Check = Callable[[], None]
"""Called between steps that take long; may raise to stop."""


def unchecked() -> None:
    """A check that stops nothing."""


@dataclass(frozen=True)
class CornerGrid:
    """Active cubes and their corners, each corner once."""

    resolution: int  # cubes along a side, those beyond the unit cube included
    border: int  # layers of cubes on every side that lie beyond the unit cube
    cubes: torch.Tensor  # (N,) cube keys in the order given
    keys: torch.Tensor  # (K,) corner keys, ascending
    index: torch.Tensor  # (N, 8) row in `keys` of each cube's corners


def corner_grid(
    coords: torch.Tensor, resolution: int, border: int = 0, check: Check = unchecked
) -> CornerGrid:
    """The grid of distinct cubes `coords` (N, 3) in [0, resolution), and `border` layers of cubes around."""
    coords = coords.long() + border
    resolution += 2 * border
    side = resolution + 1
    first = linear(coords, side)
    keys = torch.unique(first)
    # Growing the set along one axis at a time merges ever denser lists: far less to sort than 8·N keys.
    for step in (1, side, side * side):
        check()
        keys = torch.unique(torch.cat([keys, keys + step]))
    check()
    # Corners 4 to 7 lie one step along z from 0 to 3: their keys follow at once.
    low = torch.searchsorted(keys, first[:, None] + corner_steps(side, coords.device)[:4])
    index = torch.cat([low, low + 1], dim=1)
    return CornerGrid(resolution, border, linear(coords, resolution), keys, index)


def linear(coords: torch.Tensor, side: int) -> torch.Tensor:
    """Keys (…) of integer positions (…, 3) in a grid of `side`³."""
    return (coords[..., 0] * side + coords[..., 1]) * side + coords[..., 2]


def unlinear(keys: torch.Tensor, side: int) -> torch.Tensor:
    """Positions (…, 3) of keys (…)."""
    return torch.stack([keys // (side * side), keys // side % side, keys % side], -1)


def corner_steps(side: int, device: torch.device) -> torch.Tensor:
    """Key differences (8,) from a cube's first corner to all of them."""
    return linear(torch.tensor(CORNERS, device=device), side)


def take(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """values[rows] (…, ·) for rows (…) that are not negative: `index_select` takes a third of the time."""
    return values.index_select(0, rows.flatten()).unflatten(0, rows.shape)


def find(keys: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Rows of `wanted` in the ascending `keys`; -1 where it is not among them."""
    if len(keys) == 0:
        return torch.full_like(wanted, -1)
    rows = torch.searchsorted(keys, wanted).clamp_max_(len(keys) - 1)
    return torch.where(take(keys, rows) == wanted, rows, -1)


def corner_mean(
    values: list[torch.Tensor], target: torch.Tensor, count: int, check: Check = unchecked
) -> torch.Tensor:
    """Mean (count, ΣC) over all cubes of corner values (N, 8, C), put side by side.

    `target` (N, 8) names the row that a cube's corner counts for; -1 leaves it out.
    """
    totals = [part.new_zeros(count, part.shape[-1]) for part in values]
    shares = values[0].new_zeros(count)
    # Corner by corner no row is added to twice in one call: the same result on every run, also on a GPU.
    for corner in range(8):
        check()
        cubes = torch.nonzero(target[:, corner] >= 0)[:, 0]
        rows = target[:, corner].index_select(0, cubes)
        shares.index_add_(0, rows, shares.new_ones(()).expand(len(rows)))
        for total, part in zip(totals, values, strict=True):
            total.index_add_(0, rows, part[:, corner].index_select(0, cubes))
    return torch.cat(totals, dim=1) / shares[:, None]


def corner_positions(grid: CornerGrid, keys: torch.Tensor, deform: torch.Tensor) -> torch.Tensor:
    """Positions (K, 3) of the corners `keys` (K,) of the unit cube, moved by less than half a cube."""
    resolution = grid.resolution - 2 * grid.border
    reach = (1 - 1e-8) / (2 * resolution)
    steps = unlinear(keys, grid.resolution + 1) - grid.border
    return steps.to(deform.dtype) / resolution - 0.5 + reach * torch.tanh(deform)


def beyond(coords: torch.Tensor, side: int, border: int) -> torch.Tensor:
    """Whether `coords` (…, 3) lie below (-1), in (0) or above (1) the inner part of a grid, by axis."""
    return (coords >= side - border).long() - (coords < border).long()
