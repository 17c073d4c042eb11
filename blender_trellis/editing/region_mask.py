"""Which voxels a region takes: those whose centre lies in it, by the rule that the backend applies as well.

Here it serves the drawing and the sentences before a job; numpy only. All in the asset's own frame, the unit
cube [-0.5, 0.5]³. R resolution of the grid · V vertices · F faces.
"""

from dataclasses import dataclass

import numpy as np

from ..faults import Fault
from ..protocol.messages import REGION_BOXES, REGION_MESHES

_ON_THE_FACE = 1e-6  # in half sizes: a centre so close to a box's face belongs to the box
_ASIDE = (3.1e-7, 5.3e-7)  # rays are moved by this, so that they meet no edge of a mesh that lies on the grid
_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


@dataclass(frozen=True)
class ClosedMesh:
    """A surface without a border: vertices (V, 3), faces (F, 3)."""

    vertices: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class RegionShape:
    """The union of boxes, each a matrix (4, 4) that takes [-1, 1]³ into the asset's frame, and meshes."""

    boxes: tuple[np.ndarray, ...] = ()
    meshes: tuple[ClosedMesh, ...] = ()

    def mask(self, resolution: int) -> np.ndarray:
        """The voxels (R, R, R) whose centres (i + 0.5)/R − 0.5 lie in the region."""
        axis = (np.arange(resolution) + 0.5) / resolution - 0.5
        inside = np.zeros((resolution,) * 3, bool)
        for matrix in self.boxes:
            inside |= _in_box(matrix, axis)
        for mesh in self.meshes:
            inside |= _in_mesh(mesh, axis)
        return inside

    def distance(self) -> np.ndarray:
        """The shortest way (3,) from the region's bounds to the unit cube; 0 along axes where they meet."""
        points = [_CORNERS @ matrix[:3, :3].T + matrix[:3, 3] for matrix in self.boxes]
        points += [mesh.vertices for mesh in self.meshes]
        joined = np.concatenate(points)
        return np.maximum(-0.5 - joined.max(axis=0), 0) - np.maximum(joined.min(axis=0) - 0.5, 0)


def holds_structure(shape: RegionShape, mask: np.ndarray, resolution: int) -> bool:
    """Whether the shape can change within voxels `mask` (R, R, R): where the structure's are finer, a thin
    region may hold centres of none of those.
    """
    if resolution == len(mask):
        return bool(mask.any())
    thick = mask  # the finer grid takes long, and what is two voxels thick has finer centres between its own
    for _ in range(3):
        thick = (thick[:-1] & thick[1:]).transpose(1, 2, 0)
    if thick.any():
        return True
    finer = mask
    for axis in range(3):
        finer = finer.repeat(resolution // len(mask), axis=axis)
    return bool((finer & shape.mask(resolution)).any())


def check_count(boxes: int, meshes: int) -> None:
    """Fault where a region has more parts than one message may hold."""
    if boxes > REGION_BOXES or meshes > REGION_MESHES:
        raise Fault(
            f"The region has more than {REGION_BOXES} boxes or {REGION_MESHES} meshes: join them to one mesh."
        )


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of an affine matrix (4, 4). Without LAPACK, whose threads take longer to start."""
    x, y, z = matrix[:3, :3].T
    rows = np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)]) / (x @ np.cross(y, z))
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rows, -rows @ matrix[:3, 3]
    return result


def is_closed(mesh: ClosedMesh) -> bool:
    """Whether every edge has an even number of faces; vertices at one place count as one."""
    _, same = np.unique(mesh.vertices, axis=0, return_inverse=True)
    corners = same.reshape(-1)[mesh.faces]
    edges = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    edges = edges[edges[:, 0] != edges[:, 1]]
    _, counts = np.unique(edges, axis=0, return_counts=True)
    return not (counts % 2).any()


def _in_box(matrix: np.ndarray, axis: np.ndarray) -> np.ndarray:
    inverse = inverted(matrix)
    inside = np.ones((len(axis),) * 3, bool)
    for row in inverse[:3]:
        # One coordinate of all centres at once, as a sum of three lines.
        local = (row[0] * axis)[:, None, None] + (row[1] * axis)[:, None] + (row[2] * axis + row[3])
        inside &= np.abs(local) <= 1 + _ON_THE_FACE
    return inside


def _in_mesh(mesh: ClosedMesh, axis: np.ndarray) -> np.ndarray:
    """Inside where the surface is crossed an odd number of times before, along two of the three axes."""
    votes = np.zeros((len(axis),) * 3, np.int8)
    for first in range(3):
        order = [first, (first + 1) % 3, (first + 2) % 3]
        votes += np.moveaxis(_odd_crossings(mesh.vertices[:, order][mesh.faces], axis), [0, 1, 2], order)
    return votes >= 2


def _odd_crossings(triangles: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(R, R, R) 0 or 1: the parity of triangles (F, 3, 3) met below a centre along the first coordinate."""
    depth, plane = triangles[..., 0], triangles[..., 1:] - np.array(_ASIDE)
    low = np.searchsorted(axis, plane.min(axis=1).ravel()).reshape(-1, 2)
    high = np.searchsorted(axis, plane.max(axis=1).ravel()).reshape(-1, 2)
    wide = np.maximum(high - low, 0)
    # Every column of centres within a triangle's bounds, one row each.
    counts = wide.prod(axis=1)
    number = np.repeat(np.arange(len(triangles)), counts)
    place = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = low[number] + np.stack(np.divmod(place, np.maximum(wide[number, 1], 1)), axis=1)
    corners, point = plane[number], axis[column]
    weights = np.stack([_cross(corners[:, n - 2], corners[:, n - 1], point) for n in range(3)], axis=1)
    area = weights.sum(axis=1)
    hit = ((weights >= 0).all(axis=1) | (weights <= 0).all(axis=1)) & (area != 0)
    at = (weights[hit] * depth[number[hit]]).sum(axis=1) / area[hit]
    flips = np.zeros((len(axis) + 1, len(axis), len(axis)), np.int32)
    np.add.at(flips, (np.searchsorted(axis, at), *column[hit].T), 1)
    return (np.cumsum(flips[:-1], axis=0) % 2).astype(np.int8)


def _cross(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Twice the signed area (M,) of the triangles a, b, point (M, 2): the weight of the third corner."""
    ab, ap = b - a, point - a
    return ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]
