"""A mesh as numpy arrays, and what is quickly found out about it.

V vertices · F faces · E edges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array

from backend.geometry.pieces import directed_edges, edge_keys, pieces
from backend.representations.mesh import Mesh


@dataclass(frozen=True)
class ArrayMesh:
    """vertices (V, 3) f64 · faces (F, 3) i32 · colors (V, 3) f32 sRGB in [0, 1] or None · corner_colors
    (F, 3, 3) f32 where colours have borders: what makes new faces leaves them out.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None
    corner_colors: np.ndarray | None = None

    @classmethod
    def of(cls, mesh: Mesh) -> ArrayMesh:
        """A copy of a mesh without its normal map."""
        colors, corners = (
            None if one is None else one.detach().cpu().float().numpy()
            for one in (mesh.colors, mesh.corner_colors)
        )
        faces = mesh.faces.detach().cpu().numpy().astype(np.int32)
        return cls(mesh.vertices.detach().cpu().double().numpy(), faces, colors, corners)

    def to_mesh(self, device: torch.device) -> Mesh:
        """As tensors: float32 and int64."""
        vertices = torch.from_numpy(self.vertices.astype(np.float32)).to(device)
        faces = torch.from_numpy(self.faces.astype(np.int64)).to(device)
        colors, corners = (
            None if one is None else torch.from_numpy(one.astype(np.float32)).to(device)
            for one in (self.colors, self.corner_colors)
        )
        return Mesh(vertices, faces, colors, corner_colors=corners)

    def keep(self, faces: np.ndarray) -> ArrayMesh:
        """The faces chosen by a mask (F,), and the vertices that they use."""
        kept = self.faces[faces]
        used = np.zeros(len(self.vertices), bool)
        used[kept] = True
        number = np.cumsum(used, dtype=np.int32) - 1
        colors = None if self.colors is None else self.colors[used]
        corners = None if self.corner_colors is None else self.corner_colors[faces]
        return ArrayMesh(self.vertices[used], number[kept], colors, corners)

    def turned(self, faces: np.ndarray) -> ArrayMesh:
        """The faces chosen by a mask (F,) turned round."""
        way = np.where(faces[:, None], (2, 1, 0), (0, 1, 2))
        corners = self.corner_colors
        corners = None if corners is None else np.take_along_axis(corners, way[..., None], axis=1)
        return replace(self, faces=np.take_along_axis(self.faces, way, axis=1), corner_colors=corners)

    def with_borders_of(self, raw: ArrayMesh) -> ArrayMesh:
        """With the borders of colours of the mesh that this was made of, on faces that are still there."""
        if raw.corner_colors is None or self.colors is None:
            return self
        places = np.concatenate([raw.vertices, self.vertices]).astype(np.float32)
        place = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
        corners = np.concatenate([place[raw.faces], place[len(raw.vertices) :][self.faces]])
        order = np.argsort(corners, axis=1)
        rows = np.take_along_axis(corners, order, axis=1)
        _, first, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        count = len(raw.faces)
        source = first[number.reshape(-1)[count:]]
        there = np.flatnonzero(source < count)
        source = source[there]
        shown = self.colors[self.faces]
        known = np.take_along_axis(raw.corner_colors[source], order[source, :, None], axis=1)
        inner = shown[there]
        np.put_along_axis(inner, order[count + there, :, None], known, axis=1)
        shown[there] = inner
        return replace(self, corner_colors=shown)


def face_areas(mesh: ArrayMesh) -> np.ndarray:
    """(F,)"""
    return np.linalg.norm(_area_vectors(mesh), axis=1) / 2


def vertex_normals(mesh: ArrayMesh) -> np.ndarray:
    """Unit normals (V, 3), the faces weighted by area; zero where there is none."""
    areas, count = _area_vectors(mesh), len(mesh.vertices)
    total = np.zeros((count, 3))
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(mesh.faces[:, corner], areas[:, axis], count)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return total / np.where(length > 0, length, 1)


def links(faces: np.ndarray, count: int) -> csr_array:
    """Matrix (V, V) f64 with 1 where two vertices share an edge."""
    rows, columns = directed_edges(faces).T
    matrix = coo_array((np.ones(len(rows)), (rows, columns)), (count, count)).tocsr()
    matrix = matrix + matrix.T
    matrix.data[:] = 1
    return csr_array(matrix)


def parts(mesh: ArrayMesh) -> np.ndarray:
    """The number (F,) of the connected part that each face belongs to, from 0 on."""
    return pieces(mesh.faces)[1]


def edge_uses(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each undirected edge as a pair (E, 2) of vertices and how many faces (E,) use it."""
    keys, counts = np.unique(edge_keys(np.sort(directed_edges(faces), axis=1)), return_counts=True)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1), counts


def is_closed(faces: np.ndarray) -> bool:
    """Whether each edge is run along as often one way as the other."""
    edges = directed_edges(faces)
    return np.array_equal(np.sort(edge_keys(edges)), np.sort(edge_keys(edges[:, ::-1])))


def _area_vectors(mesh: ArrayMesh) -> np.ndarray:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)
