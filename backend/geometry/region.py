"""A region of an asset: boxes and closed meshes in its own frame, [-0.5, 0.5]³. Several of them are joined.

V vertices · F faces · N points · R resolution of a grid of voxels, whose centres are (i + 0.5)/R − 0.5.
"""

from dataclasses import dataclass

import numpy as np

from backend.errors import UserError

_ON_THE_FACE = 1e-6
"""A point this close to a box's face (in half sizes) belongs to the box."""
_NEVER_ON_AN_EDGE = np.array([3.1e-7, 5.3e-7])
"""Rays are moved aside by this, so that they meet no edge of a mesh that lies on the grid."""


@dataclass(frozen=True)
class Box:
    """`matrix` (4, 4) takes the cube [-1, 1]³ into the asset's frame: any place, turn, size and shear."""

    matrix: np.ndarray

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the points (N, 3) lie in the box."""
        inverse = np.linalg.inv(self.matrix)
        local = points @ inverse[:3, :3].T + inverse[:3, 3]
        return (np.abs(local) <= 1 + _ON_THE_FACE).all(axis=1)

    def distance_to(self, points: np.ndarray) -> float:
        """From the box to the nearest of the points (N, 3); exact unless the box is sheared."""
        inverse = np.linalg.inv(self.matrix)
        nearest = np.clip(points @ inverse[:3, :3].T + inverse[:3, 3], -1, 1)
        apart = nearest @ self.matrix[:3, :3].T + self.matrix[:3, 3] - points
        return float(np.linalg.norm(apart, axis=1).min())


@dataclass(frozen=True)
class ClosedMesh:
    """A surface without a border: vertices (V, 3), faces (F, 3)."""

    vertices: np.ndarray
    faces: np.ndarray

    def distance_to(self, points: np.ndarray) -> float:
        """From the mesh's bounding box to the nearest of the points (N, 3)."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        return float(np.linalg.norm(np.clip(points, low, high) - points, axis=1).min())


@dataclass(frozen=True)
class Region:
    """The union of boxes and closed meshes."""

    boxes: tuple[Box, ...] = ()
    meshes: tuple[ClosedMesh, ...] = ()

    def mask(self, resolution: int) -> np.ndarray:
        """Which voxels (R, R, R) of a grid have their centre in the region."""
        axis = (np.arange(resolution) + 0.5) / resolution - 0.5
        inside = np.zeros((resolution,) * 3, bool)
        for mesh in self.meshes:
            inside |= _enclosed(mesh, axis)
        centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        for box in self.boxes:
            inside |= box.contains(centres).reshape(inside.shape)
        return inside

    def distance_to(self, points: np.ndarray) -> float:
        """How far the nearest of the points (N, 3) is, 0 within; of meshes about so."""
        boxes = [box.distance_to(points) for box in self.boxes]
        return min(boxes + [mesh.distance_to(points) for mesh in self.meshes])

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and highest corner (3,) of the axis-aligned box round it."""
        corners = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), axis=-1).reshape(-1, 3)
        points = [corners @ box.matrix[:3, :3].T + box.matrix[:3, 3] for box in self.boxes]
        points += [mesh.vertices for mesh in self.meshes]
        joined = np.concatenate(points)
        return joined.min(axis=0), joined.max(axis=0)


def read_region(data: object) -> Region:
    """From JSON: {"boxes": [{"center": [x, y, z], "size": [x, y, z], "rotation": [w, x, y, z]} or
    {"matrix": 4 × 4}, …], "meshes": [{"vertices": V × 3, "faces": F × 3}, …]}.

    Sizes are whole lengths in the asset's frame, where the asset fills [-0.5, 0.5]; the matrix takes the cube
    [-1, 1]³ there. Raises UserError that names what is wrong.
    """
    if not isinstance(data, dict) or not set(data) <= {"boxes", "meshes"}:
        raise UserError("A region is a JSON object with the lists boxes and meshes; correct the file.")
    listed = [data.get(key, []) for key in ("boxes", "meshes")]
    if not all(isinstance(one, list) and all(isinstance(item, dict) for item in one) for one in listed):
        raise UserError("boxes and meshes of a region are lists of JSON objects; correct the file.")
    region = Region(tuple(map(_read_box, listed[0])), tuple(map(_read_mesh, listed[1])))
    if not region.boxes and not region.meshes:
        raise UserError("The region has neither a box nor a mesh; add one.")
    return region


def make_box(center: object, size: object, rotation: object = (1.0, 0.0, 0.0, 0.0)) -> Box:
    """A box by its centre (3,), its whole sizes (3,) and a quaternion w, x, y, z."""
    middle, lengths = _numbers(center, (3,), "center"), _numbers(size, (3,), "size")
    quaternion = _numbers(rotation, (4,), "rotation")
    norm = np.linalg.norm(quaternion)
    if (lengths <= 0).any() or norm < 1e-9:
        raise UserError("The box of the region is scaled to nothing; give it a size on every axis.")
    w, x, y, z = quaternion / norm
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * (lengths / 2), middle
    return Box(matrix)


def make_box_of_matrix(value: object) -> Box:
    """A box by the matrix (4, 4) that takes the cube [-1, 1]³ there."""
    matrix = _numbers(value, (4, 4), "matrix")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-18 or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise UserError("The box of the region is scaled to nothing; give it a size on every axis.")
    return Box(matrix)


def _read_box(item: dict) -> Box:
    if set(item) == {"matrix"}:
        return make_box_of_matrix(item["matrix"])
    if not {"center", "size"} <= set(item) <= {"center", "size", "rotation"}:
        raise UserError("A box has center, size and perhaps rotation, or a matrix; correct the region.")
    return make_box(item["center"], item["size"], item.get("rotation", (1.0, 0.0, 0.0, 0.0)))


def _read_mesh(item: dict) -> ClosedMesh:
    if set(item) != {"vertices", "faces"}:
        raise UserError("A mesh of a region has vertices and faces; correct the region.")
    faces = _numbers(item["faces"], (-1, 3), "faces")
    if (faces % 1).any():
        raise UserError("The faces of the region's mesh are not whole numbers; correct the region.")
    return make_closed_mesh(_numbers(item["vertices"], (-1, 3), "vertices"), faces.astype(np.int64))


def make_closed_mesh(vertices: np.ndarray, faces: np.ndarray) -> ClosedMesh:
    """A mesh whose every edge has as many faces on one side as on the other; UserError for others."""
    vertices, faces = _numbers(vertices, (-1, 3), "vertices"), np.asarray(faces)
    if (
        faces.ndim != 2
        or faces.shape[1] != 3
        or len(faces) == 0
        or faces.min() < 0
        or faces.max() >= len(vertices)
    ):
        raise UserError("The mesh of the region has no faces, or faces without vertices; use another mesh.")
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    # Vertices at one place count as one: exporters split them for normals and UVs.
    _, same = np.unique(vertices, axis=0, return_inverse=True)
    edges = np.sort(same.reshape(-1)[edges], axis=1)
    edges = edges[edges[:, 0] != edges[:, 1]]
    _, counts = np.unique(edges, axis=0, return_counts=True)
    if (counts % 2).any():
        raise UserError("The mesh of the region is not closed; close its holes or use a box.")
    return ClosedMesh(vertices, faces)


def _numbers(value: object, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    fits = numbers.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, numbers.shape, strict=True)
    )
    if not fits or not np.isfinite(numbers).all():
        asked = " × ".join("any" if n < 0 else str(n) for n in shape)
        raise UserError(f"{name} of the region is not {asked} finite numbers; correct the region.")
    return numbers


def _enclosed(mesh: ClosedMesh, axis: np.ndarray) -> np.ndarray:
    """Voxels (R, R, R) inside the mesh: an odd number of crossings before it, along two of three axes."""
    votes = np.zeros((len(axis),) * 3, np.int8)
    for direction in range(3):
        order = [direction, (direction + 1) % 3, (direction + 2) % 3]
        crossed = _parity(mesh.vertices[:, order][mesh.faces], axis)
        votes += np.moveaxis(crossed, [0, 1, 2], order)
    return votes >= 2


def _parity(triangles: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Odd crossings (R, R, R) below each voxel along the first coordinate of the triangles (F, 3, 3)."""
    resolution = len(axis)
    flips = np.zeros((resolution + 1, resolution, resolution), np.int32)
    depth, plane = triangles[..., 0], triangles[..., 1:] - _NEVER_ON_AN_EDGE
    # The columns of voxel centres that each triangle's shadow may cover.
    low = np.searchsorted(axis, plane.min(axis=1).ravel()).reshape(-1, 2)
    high = np.searchsorted(axis, plane.max(axis=1).ravel()).reshape(-1, 2)
    wide = np.maximum(high - low, 0)
    count = wide.prod(axis=1)
    triangle = np.repeat(np.arange(len(triangles)), count)
    number = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    column = low[triangle] + np.stack(
        [number // np.maximum(wide[triangle, 1], 1), number % np.maximum(wide[triangle, 1], 1)], axis=1
    )
    corners, point = plane[triangle], axis[column]
    a, b, c = (_cross(corners[:, n], corners[:, (n + 1) % 3], point) for n in range(3))
    hit = ((a >= 0) & (b >= 0) & (c >= 0)) | ((a <= 0) & (b <= 0) & (c <= 0))
    area = a + b + c
    hit &= area != 0
    a, b, c, area, triangle, column = (one[hit] for one in (a, b, c, area, triangle, column))
    # Barycentric weights: each corner's is the area opposite to it.
    at = (b * depth[triangle, 0] + c * depth[triangle, 1] + a * depth[triangle, 2]) / area
    np.add.at(flips, (np.searchsorted(axis, at), column[:, 0], column[:, 1]), 1)
    return (np.cumsum(flips[:resolution], axis=0) % 2).astype(np.int8)


def _cross(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Twice the signed area (M,) of the triangles a, b, point (M, 2)."""
    ab, ap = b - a, point - a
    return ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]
