"""Voxels as triangles that a graphics card draws: numpy only. R resolution · N quads.

The corners are those of the whole grid, the same for every shape, so that a change costs new indices alone.
"""

import numpy as np


def grid_corners(resolution: int) -> np.ndarray:
    """The corners ((R+1)³, 3) f4 of all voxels of the unit cube [-0.5, 0.5]³, z the fastest."""
    axis = (np.arange(resolution + 1) / resolution - 0.5).astype(np.float32)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def visible_sides(taken: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The outer sides of the voxels `taken` (R, R, R) bool, for each axis those that look along it.

    Each: triangles (2N, 3) u4 of the grid's corners, counter-clockwise from outside.
    """
    size = len(taken) + 1
    strides = (size * size, size, 1)
    return tuple(_sides(taken, axis, strides) for axis in range(3))  # type: ignore[return-value]


def _sides(taken: np.ndarray, axis: int, strides: tuple[int, int, int]) -> np.ndarray:
    """A side lies between two voxels along the axis of which one is taken, or at the grid's border."""
    size = len(taken) + 1
    before, after = np.zeros((2, size, size, size), bool)
    inner = [slice(0, -1)] * 3
    after[tuple(inner)] = taken
    inner[axis] = slice(1, None)
    before[tuple(inner)] = taken
    one, other = strides[(axis + 1) % 3], strides[(axis + 2) % 3]
    up = np.array([0, one, one + other, 0, one + other, other], np.uint32)  # looks along the axis
    down = np.array([0, one + other, one, 0, other, one + other], np.uint32)
    sides = [
        np.flatnonzero(before & ~after).astype(np.uint32)[:, None] + up,
        np.flatnonzero(after & ~before).astype(np.uint32)[:, None] + down,
    ]
    return np.concatenate(sides).reshape(-1, 3)
