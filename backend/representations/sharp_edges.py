"""Normals that are smooth over a surface and break at its sharp edges, as files hold them: a vertex for each.

V vertices · F faces · W vertices after cutting.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.representations.mesh import Mesh, TexturedMesh

SHARP_ANGLE = math.radians(50)
"""Edges that are bent more stay sharp; the add-on does the same."""


def corner_fans(faces: np.ndarray, normals: np.ndarray | None = None) -> np.ndarray:
    """The number (F, 3) of the fan of faces round its vertex that each corner belongs to, from 0 on.

    Faces of a fan meet at edges; with unit normals (F, 3) only at edges that are not sharp.
    """
    count = len(faces)
    edges = np.concatenate([faces[:, (0, 1)], faces[:, (1, 2)], faces[:, (2, 0)]]).astype(np.int64)
    keys, back = edges[:, 0] << 32 | edges[:, 1], edges[:, 1] << 32 | edges[:, 0]
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], back).clip(max=len(keys) - 1)
    paired = np.flatnonzero(keys[order[place]] == back)
    partner = order[place[paired]]
    # Edge number n of corner k starts at corner k of its face; its partner starts where it ends.
    start, face = paired // count, paired % count
    other_start, other = partner // count, partner % count
    if normals is not None:
        smooth = (normals[face] * normals[other]).sum(axis=1) >= math.cos(SHARP_ANGLE)
        start, face, other_start, other = (some[smooth] for some in (start, face, other_start, other))
    first = np.concatenate([3 * face + start, 3 * face + (start + 1) % 3])
    second = np.concatenate([3 * other + (other_start + 1) % 3, 3 * other + other_start])
    graph = coo_array((np.ones(len(first), bool), (first, second)), (3 * count, 3 * count))
    return connected_components(graph, directed=False)[1].reshape(-1, 3)


def sharp_normals(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fan (F, 3) of each corner and the unit normals f32 of the fans, faces weighted by area; up where
    there is no area.
    """
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    areas = np.cross(b - a, c - a)
    length = np.linalg.norm(areas, axis=1, keepdims=True)
    fans = corner_fans(faces, areas / np.where(length > 0, length, 1))
    count = int(fans.max()) + 1
    total = np.stack(
        [
            sum(np.bincount(fans[:, corner], areas[:, axis], count) for corner in range(3))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return fans, np.where(length > 0, total / np.where(length > 0, length, 1), (0, 0, 1)).astype(np.float32)


def cut_at_sharp_edges(mesh: Mesh) -> tuple[Mesh, torch.Tensor]:
    """The same mesh with a vertex for each normal, and these (W, 3)."""
    faces = mesh.faces.cpu().numpy()
    fans, normals = sharp_normals(mesh.vertices.detach().cpu().numpy(), faces)
    _, first = np.unique(fans, return_index=True)
    source = torch.from_numpy(faces.ravel()[first])
    colors = None if mesh.colors is None else mesh.colors.cpu()[source]
    return Mesh(mesh.vertices.cpu()[source], torch.from_numpy(fans).long(), colors), torch.from_numpy(normals)


def textured_with_sharp_edges(mesh: TexturedMesh) -> TexturedMesh:
    """The same mesh with a vertex for each normal, and normals that break at sharp edges."""
    faces, origin = mesh.faces.cpu().numpy(), mesh.origin.cpu().numpy()
    places = np.zeros((int(origin.max()) + 1, 3), np.float32)
    places[origin] = mesh.vertices.cpu().numpy()
    fans, normals = sharp_normals(places, origin[faces])
    keys, first, number = np.unique(
        faces.astype(np.int64).ravel() << 32 | fans.ravel(), return_index=True, return_inverse=True
    )
    source = torch.from_numpy(faces.ravel()[first])
    return replace(
        mesh,
        vertices=mesh.vertices[source],
        faces=torch.from_numpy(number.reshape(-1, 3)),
        normals=torch.from_numpy(normals[keys & 0xFFFFFFFF]),
        uv=mesh.uv[source],
        origin=mesh.origin[source],
    )
