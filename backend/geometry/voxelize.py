"""Which voxels of a regular grid a triangle mesh passes through.

`voxelize` is exact, and what published models were trained on: a voxel is on when a triangle touches its
closed cube (separating-axis test, Akenine-Möller 2001) and it lies in the range of voxels of the triangle's
bounding box, so that a face exactly on a border marks only the voxel above.

The starter was trained, and is measured, on samples of the surface: `sampled_occupancy` and `sampled_colors`
look at points on every triangle that are denser than a third of a voxel. They find no voxel that `voxelize`
does not, and leave out those that a triangle only grazes: 5 to 9 % of an object's at 64³.
V vertices · F faces · P pairs of a face and a voxel · L voxels · R resolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numba import njit

from backend.errors import UserError
from backend.geometry.mesh_files import Asset

EMPTY = Asset(np.zeros((0, 3)), np.zeros((0, 3), np.int32), np.zeros((0, 3, 3), np.uint8), np.zeros(0, bool))
_PAIRS_AT_ONCE = 1 << 16
_MARGIN = 1e-6


def voxelize(
    vertices: np.ndarray, faces: np.ndarray, resolution: int = 64, normalise: bool = True
) -> np.ndarray:
    """Voxels (L, 3) int32, sorted by x, y, z, of a mesh in the unit cube [-0.5, 0.5]³.

    `normalise` first moves the mesh (V, 3) to the middle and scales its longest side to 1; in any case it is
    clipped to just inside the cube. Raises UserError for a mesh without faces or size, or with bad values.
    """
    corners = np.asarray(vertices, dtype=np.float64).reshape(-1, 3)
    faces = np.asarray(faces, dtype=np.int64).reshape(-1, 3)
    _check(corners, faces)
    if normalise:
        corners = _normalised(corners)
    triangles = corners.clip(-0.5 + _MARGIN, 0.5 - _MARGIN)[faces]
    places = np.floor((triangles + 0.5) * resolution).astype(np.int32)
    low, high = (_folded(extreme, places) for extreme in (np.minimum, np.maximum))
    size = high - low + 1
    grid = np.zeros((resolution,) * 3, dtype=bool)
    # Vertices lie in their voxels. A triangle that stays in one row of voxels passes through all of them.
    grid[tuple(places.reshape(-1, 3).T)] = True
    rows = (size > 1).sum(axis=1) <= 1
    for _, voxels in _boxes(low[rows], size[rows]):
        grid[tuple(voxels.T)] = True
    triangles, low, size = triangles[~rows], low[~rows], size[~rows]
    for number, voxels in _near_planes(triangles, low, size, resolution):
        unknown = ~grid[tuple(voxels.T)]
        number, voxels = number[unknown], voxels[unknown]
        centres = (voxels + 0.5) / resolution - 0.5
        grid[tuple(voxels[_touch(triangles[number], centres, 0.5 / resolution)].T)] = True
    return np.argwhere(grid).astype(np.int32)


def sampled_occupancy(vertices: np.ndarray, faces: np.ndarray, resolution: int) -> np.ndarray:
    """Occupancy (R, R, R) bool of a surface in the unit cube, (V, 3), (F, 3), by samples of it."""
    return _sample(_in_voxels(vertices, resolution), faces, np.zeros((0, 3, 3), np.uint8), resolution)[1] > 0


def sampled_colors(
    vertices: np.ndarray, faces: np.ndarray, corner_colors: np.ndarray, resolution: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour in [0, 1] of the surface's samples in every voxel, (R, R, R, 3) f32, and which have any."""
    sums, counts = _sample(_in_voxels(vertices, resolution), faces, corner_colors, resolution)
    return sums / (255 * np.maximum(counts, 1))[..., None], counts > 0


def _check(vertices: np.ndarray, faces: np.ndarray) -> None:
    if len(faces) == 0:
        raise UserError("The mesh has no faces; choose an object with a surface.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise UserError("The mesh names vertices that it does not have; export it again.")
    if not np.isfinite(vertices).all():
        raise UserError("The mesh has coordinates that are not finite numbers; repair it first.")


def _normalised(vertices: np.ndarray) -> np.ndarray:
    low, high = vertices.min(0), vertices.max(0)
    longest = (high - low).max()
    if longest == 0:
        raise UserError("All vertices of the mesh are in one place; choose an object with a size.")
    return (vertices - (low + high) / 2) / longest


def _folded(extreme: np.ufunc, places: np.ndarray) -> np.ndarray:
    """The lowest or highest of the three corners: (F, 3, 3) -> (F, 3)."""
    return extreme(extreme(places[:, 0], places[:, 1]), places[:, 2])


def _boxes(low: np.ndarray, size: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers (P,) of boxes (F, 3) with each of their voxels (P, 3), some at a time."""
    ends = np.cumsum(size.prod(axis=1, dtype=np.int64))
    for start in range(0, int(ends[-1]) if len(ends) else 0, _PAIRS_AT_ONCE):
        pair = np.arange(start, min(start + _PAIRS_AT_ONCE, ends[-1]))
        number = np.searchsorted(ends, pair, side="right")
        place = pair - (ends[number] - size[number].prod(axis=1))
        depth, height = size[number, 2], size[number, 1]
        steps = np.stack([place // (depth * height), place // depth % height, place % depth], axis=1)
        yield number, low[number] + steps


def _near_planes(
    triangles: np.ndarray, low: np.ndarray, size: np.ndarray, resolution: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `_boxes` of triangles (F, 3, 3), without voxels that the triangle's plane does not come near to.

    Of each column of voxels along the axis that a plane faces most, only those at the plane are looked at; of
    needles, whose plane is rounding noise, all.
    """
    edges = triangles[:, 1:] - triangles[:, :1]
    normals = np.cross(edges[:, 0], edges[:, 1])
    facing = np.abs(normals).argmax(axis=1)
    order = (facing[:, None] + [1, 2, 0]) % 3
    normals, origins, first, size = (
        np.take_along_axis(rows, order, axis=1) for rows in (normals, triangles[:, 0], low, size)
    )
    needle = np.abs(normals[:, 2]) <= 1e-9 * np.square(edges).max(axis=(1, 2))
    slope = normals / np.where(needle, 1.0, normals[:, 2])[:, None]
    reach = np.where(needle, 2.0 * resolution, np.abs(slope).sum(axis=1) / 2 + 1e-6)
    last = first[:, 2] + size[:, 2] - 1
    size[:, 2] = 1
    for number, columns in _boxes(first, size):
        step = columns[:, :2] + 0.5 - (origins[number, :2] + 0.5) * resolution
        height = (origins[number, 2] + 0.5) * resolution - 0.5 - (slope[number, :2] * step).sum(axis=1)
        start = np.maximum(np.ceil(height - reach[number]).astype(np.int64), columns[:, 2])
        stop = np.minimum(np.floor(height + reach[number]).astype(np.int64), last[number])
        count = np.maximum(stop - start + 1, 0)
        column = np.repeat(np.arange(len(count)), count)
        columns[:, 2] = start - (np.cumsum(count) - count)
        voxels = columns[column]
        voxels[:, 2] += np.arange(len(voxels))
        number = number[column]
        yield number, np.take_along_axis(voxels, (np.arange(3) - facing[number, None] - 1) % 3, axis=1)


def _touch(triangles: np.ndarray, centres: np.ndarray, half: float) -> np.ndarray:
    """Whether triangles (P, 3, 3) touch cubes (P, 3) of half edge `half`; contact counts."""
    corners = triangles - centres[:, None]
    touch = (corners.min(1) <= half).all(1) & (corners.max(1) >= -half).all(1)
    edges = np.roll(corners, -1, axis=1) - corners
    normals = np.cross(edges[:, 0], edges[:, 1])
    # All three corners, although they should lie in one plane: the normal of a needle is only rounding noise.
    touch &= _overlap((corners * normals[:, None]).sum(2), half * np.abs(normals).sum(1))
    for edge in range(3):
        for axis in range(3):
            # On the cross product of an edge and the cube's axis
            u, v = edges[:, edge, (axis + 1) % 3, None], edges[:, edge, (axis + 2) % 3, None]
            shadow = u * corners[:, :, (axis + 2) % 3] - v * corners[:, :, (axis + 1) % 3]
            touch &= _overlap(shadow, half * (np.abs(u) + np.abs(v))[:, 0])
    return touch


def _overlap(shadow: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Whether shadows on a line have contact: the triangle's (P, 3) and the cube's, ± reach (P,)."""
    return (shadow.min(1) <= reach) & (shadow.max(1) >= -reach)


def _in_voxels(vertices: np.ndarray, resolution: int) -> np.ndarray:
    """(V, 3) in the unit cube -> in voxels, none of them beyond the last one."""
    return np.clip((vertices + 0.5) * resolution, 0, resolution - 1e-4)


@njit(nogil=True, cache=True)
def _sample(grid, faces, corner_colors, resolution):
    """Sums of the samples' colours (R, R, R, 3), or one zero where there are none, and counts (R, R, R)."""
    colored = corner_colors.shape[0] > 0
    side = resolution if colored else 1
    sums = np.zeros((side, side, side, 3), np.float32)
    counts = np.zeros((resolution, resolution, resolution), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = grid[faces[f, 0]], grid[faces[f, 1]], grid[faces[f, 2]]
        longest = max(np.abs(b - a).max(), np.abs(c - a).max(), np.abs(c - b).max())
        n = int(math.ceil(longest * 3)) + 1
        for i in range(n + 1):
            for j in range(n + 1 - i):
                u, v = i / n, j / n
                p = a + u * (b - a) + v * (c - a)
                x, y, z = int(p[0]), int(p[1]), int(p[2])
                counts[x, y, z] += 1
                if not colored:
                    continue
                for k in range(3):
                    color = (1 - u - v) * corner_colors[f, 0, k]
                    color += u * corner_colors[f, 1, k] + v * corner_colors[f, 2, k]
                    sums[x, y, z, k] += color
    return sums, counts


def boundary(occupied: np.ndarray) -> Asset:
    """The faces between occupied and empty voxels (R, R, R) of the unit cube, two triangles each."""
    if not occupied.any():
        return EMPTY
    padded = np.pad(occupied, 1)
    quads = []
    for axis in range(3):
        u, v = np.eye(3)[[(axis + 1) % 3, (axis + 2) % 3]]
        for side in (0, 1):
            beyond = np.roll(padded, 1 - 2 * side, axis)[1:-1, 1:-1, 1:-1]
            corner = np.argwhere(occupied & ~beyond) + side * np.eye(3)[axis]
            ring = [corner, corner + u, corner + u + v, corner + v]
            quads.append(np.stack(ring if side else ring[::-1], axis=1))
    corners = np.concatenate(quads).reshape(-1, 3) / len(occupied) - 0.5
    first = np.arange(0, len(corners), 4)[:, None]
    faces = np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])])
    return grey(corners, faces.astype(np.int32))


def grey(vertices: np.ndarray, faces: np.ndarray) -> Asset:
    """A mesh of vertices (V, 3) and faces (F, 3) without colours of its own."""
    return Asset(vertices, faces, np.full((len(faces), 3, 3), 128, np.uint8), np.zeros(len(faces), bool))
