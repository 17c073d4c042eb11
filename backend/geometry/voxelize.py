"""Which voxels of a regular grid a triangle mesh passes through.

A voxel is on when a triangle touches its closed cube (separating-axis test, Akenine-Möller 2001) and it lies
in the range of voxels of the triangle's bounding box: a face exactly on a border marks only the voxel above.
Dims: V vertices · F faces · P pairs of a face and a voxel.
"""

from collections.abc import Iterator

import numpy as np

from backend.errors import UserError

_PAIRS_AT_ONCE = 1 << 18
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
    corners = corners.clip(-0.5 + _MARGIN, 0.5 - _MARGIN)
    grid = np.zeros((resolution,) * 3, dtype=bool)
    for triangles, voxels in _candidates(corners[faces], resolution):
        hit = voxels[_touch(triangles, (voxels + 0.5) / resolution - 0.5, 0.5 / resolution)]
        grid[tuple(hit.T)] = True
    return np.argwhere(grid).astype(np.int32)


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


def _candidates(triangles: np.ndarray, resolution: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Triangles (P, 3, 3) paired with each voxel (P, 3) of their bounding boxes, some at a time."""
    low = np.floor((triangles.min(1) + 0.5) * resolution).astype(np.int64).clip(0, resolution - 1)
    high = np.floor((triangles.max(1) + 0.5) * resolution).astype(np.int64).clip(0, resolution - 1)
    size = high - low + 1
    ends = np.cumsum(size.prod(1))
    for start in range(0, int(ends[-1]), _PAIRS_AT_ONCE):
        pair = np.arange(start, min(start + _PAIRS_AT_ONCE, ends[-1]))
        row = np.searchsorted(ends, pair, side="right")
        place = pair - (ends[row] - size[row].prod(1))
        depth, height = size[row, 2], size[row, 1]
        steps = np.stack([place // (depth * height), place // depth % height, place % depth], axis=1)
        yield triangles[row], low[row] + steps


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
