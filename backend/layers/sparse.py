"""Occupied voxels of one object: their coordinates, pooling to half the resolution and back, subdividing.

Coordinates are (L, 3) integers in any order without repetition; features are rows in the same order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.errors import UserError

CHILDREN = 8


@dataclass(frozen=True)
class Pooling:
    """Which fine voxels lie in which coarse one.

    coarse_coords (M, 3) sorted by x, y, z · parent (L,) row of the coarse voxel · children (M, 8) fine rows
    by octant, L where there is none · divisor (M, 1) number of children plus one.
    """

    coarse_coords: Tensor
    parent: Tensor
    children: Tensor
    divisor: Tensor


def check_coords(coords: Tensor) -> Tensor:
    """Voxels of one object as contiguous (L, 3) int64; UserError if there are none."""
    if coords.ndim != 2 or coords.shape[1] != 3:
        raise ValueError(f"coords must be (L, 3), not {tuple(coords.shape)}")
    if coords.shape[0] == 0:
        raise UserError("The structure has no occupied voxels: start from another picture or other words.")
    return coords.long().contiguous()


def linear_keys(coords: Tensor) -> Tensor:
    """One number per voxel, ordered as (x, y, z); neighbours outside the grid have their own."""
    extent = coords.amax() + 3
    return ((coords[:, 0] + 1) * extent + coords[:, 1] + 1) * extent + coords[:, 2] + 1


def pool_coords(coords: Tensor) -> Pooling:
    """Group voxels (L, 3) into voxels of twice the size."""
    extent = coords.amax() // 2 + 1
    x, y, z = (coords // 2).unbind(1)
    keys, parent = torch.unique((x * extent + y) * extent + z, return_inverse=True)
    coarse = torch.stack([keys // extent**2, keys // extent % extent, keys % extent], dim=1)
    x, y, z = (coords % 2).unbind(1)
    octant = 4 * x + 2 * y + z  # no matrix product: CUDA has none of integers
    children = coords.new_full((len(coarse), CHILDREN), len(coords))
    children[parent, octant] = torch.arange(len(coords), device=coords.device)
    divisor = (children < len(coords)).sum(1, keepdim=True) + 1
    return Pooling(coarse, parent, children, divisor)


def pool(feats: Tensor, pooling: Pooling) -> Tensor:
    """Sum of the children over their number plus one: (L, C) -> (M, C).

    The published networks were trained with the empty destination counted as one more child.
    """
    padded = torch.cat([feats, feats.new_zeros(1, feats.shape[1])])
    total = padded[pooling.children[:, 0]]
    for octant in range(1, CHILDREN):
        total = total + padded[pooling.children[:, octant]]
    return total / pooling.divisor.to(feats.dtype)


def unpool(feats: Tensor, pooling: Pooling) -> Tensor:
    """Hand every fine voxel the features of its coarse one: (M, C) -> (L, C)."""
    return feats[pooling.parent]


def subdivide_coords(coords: Tensor) -> Tensor:
    """Eight children of every voxel, dx slowest and dz fastest: (L, 3) -> (8L, 3) at twice the resolution."""
    offsets = torch.cartesian_prod(*[torch.arange(2, device=coords.device, dtype=coords.dtype)] * 3)
    return (2 * coords[:, None] + offsets).flatten(0, 1)


def subdivide(feats: Tensor) -> Tensor:
    """Hand every child the features of its parent: (L, C) -> (8L, C)."""
    return feats.repeat_interleave(CHILDREN, dim=0)
