"""Voxels as triangles that a graphics card draws: numpy only. R resolution · N quads."""

import numpy as np

Quads = tuple[np.ndarray, np.ndarray]


def visible_sides(taken: np.ndarray) -> tuple[Quads, Quads, Quads]:
    """The outer sides of the voxels `taken` (R, R, R) bool, for each axis those that look along it.

    Each: corners (4N, 3) f4 in the unit cube [-0.5, 0.5]³ and triangles (2N, 3) u4, counter-clockwise from
    outside.
    """
    padded = np.pad(taken, 1)
    return tuple(_sides(padded, axis) for axis in range(3))  # type: ignore[return-value]


def _sides(padded: np.ndarray, axis: int) -> Quads:
    resolution = padded.shape[0] - 2
    across = [(axis + 1) % 3, (axis + 2) % 3]
    inner = tuple(slice(1, -1) for _ in range(3))
    quads = []
    for step in (0, 1):  # 0: the side towards lower coordinates
        open_side = (padded & ~np.roll(padded, 1 - 2 * step, axis))[inner]
        corner = np.argwhere(open_side).astype(np.float32)
        corner[:, axis] += step
        ring = np.zeros((4, 3), np.float32)
        ring[[1, 2], across[0]] = 1
        ring[[2, 3], across[1]] = 1
        quads.append(corner[:, None] + (ring if step else ring[::-1]))
    corners = (np.concatenate(quads).reshape(-1, 3) / resolution - 0.5).astype(np.float32)
    first = np.arange(0, len(corners), 4, dtype=np.uint32)[:, None]
    return corners, (first + np.array([[0, 1, 2, 0, 2, 3]], np.uint32)).reshape(-1, 3)
