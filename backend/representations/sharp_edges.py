"""Normals that are smooth over a surface and break at its sharp edges, as files hold them: a vertex for each.

V vertices · F faces · W vertices after cutting.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.representations.mesh import Mesh

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
    """The same mesh with a vertex for each normal, and for each colour of its corners; normals (W, 3)."""
    faces = mesh.faces.cpu().numpy()
    fans, normals = sharp_normals(mesh.vertices.detach().cpu().numpy(), faces)
    number, shades = fans.ravel(), None
    if mesh.corner_colors is not None:
        shades = mesh.corner_colors.detach().cpu().float().reshape(-1, 3)
        number = _numbered(fans.ravel(), shades.numpy())
    _, first, number = np.unique(number, return_index=True, return_inverse=True)
    source = torch.from_numpy(faces.ravel()[first])
    colors = None if mesh.colors is None else mesh.colors.cpu()[source]
    colors = colors if shades is None else shades[torch.from_numpy(first)]
    cut = Mesh(mesh.vertices.cpu()[source], torch.from_numpy(number.reshape(-1, 3)).long(), colors)
    return cut, torch.from_numpy(normals[fans.ravel()[first]])


def _numbered(fans: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """A number (C,) for each fan (C,) and colour (C, 3) in [0, 1] together, in 255 steps."""
    red, green, blue = np.rint(colors.clip(0, 1) * 255).astype(np.int64).T
    return fans.astype(np.int64) << 24 | red << 16 | green << 8 | blue


def cut_between_fans(faces: np.ndarray, fans: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces (F, 3) with a vertex of their own for each fan (F, 3): faces (F, 3), and of their vertices (W,)
    which ones they are copies of and their fans.
    """
    keys = faces.astype(np.int64).ravel() << 32 | fans.ravel()
    unique, number = np.unique(keys, return_inverse=True)
    return number.reshape(-1, 3), unique >> 32, unique & 0xFFFFFFFF
