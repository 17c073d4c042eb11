"""A mesh within a budget of faces: quadric edge collapses, colours taken over from before."""

from __future__ import annotations

import fast_simplification
import numpy as np
from scipy.spatial import cKDTree

from backend.finishing.arrays import ArrayMesh
from backend.finishing.closing import close_mesh, is_closed

_NEIGHBOURS = 4
_SPARE = 0.004  # of the budget, for the repair of edges that collapsing left crowded
_HASTE = (3, 7, 12)  # how readily edges collapse; in haste the budget is kept where care does not reach it


def reduce_faces(mesh: ArrayMesh, faces: int) -> ArrayMesh:
    """At most `faces` faces (0: all of them), closed if they were; the shape is kept where it is curved."""
    if faces == 0 or len(mesh.faces) <= faces:
        return mesh
    closed = is_closed(mesh.faces)
    for haste in _HASTE:
        fewer = _collapsed(mesh, round(faces * (1 - _SPARE)) if closed else faces, haste)
        if closed:
            fewer = close_mesh(fewer)
        if len(fewer.faces) <= faces:
            break
    return ArrayMesh(fewer.vertices, fewer.faces, take_colors(mesh, fewer.vertices))


def _collapsed(mesh: ArrayMesh, faces: int, haste: int) -> ArrayMesh:
    vertices, fewer = fast_simplification.simplify(
        mesh.vertices.astype(np.float32), mesh.faces, target_count=faces, agg=haste
    )
    return ArrayMesh(vertices.astype(np.float64), fewer.astype(np.int32)).keep(np.ones(len(fewer), bool))


def take_colors(source: ArrayMesh, points: np.ndarray) -> np.ndarray | None:
    """Colours (N, 3) at points (N, 3) from the nearest vertices, the nearer the more."""
    if source.colors is None:
        return None
    count = min(_NEIGHBOURS, len(source.vertices))
    distance, rows = cKDTree(source.vertices).query(points, k=range(1, count + 1))
    weight = 1 / (distance + 1e-9)
    mixed = (source.colors[rows] * (weight / weight.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)
    return mixed.astype(np.float32)
