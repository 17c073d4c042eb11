"""Every edge gets two faces: what is not manifold is cut out, holes are capped.

V vertices · F faces · E edges.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.finishing.arrays import ArrayMesh, is_closed
from backend.geometry.pieces import directed_edges, edge_keys
from backend.representations.sharp_edges import corner_fans

_ROUNDS = 10


def close_mesh(mesh: ArrayMesh) -> ArrayMesh:
    """A mesh without open or crowded edges, its faces turned as they were; the same where all is well.

    Each hole is capped by a fan round its middle. What has no inside, such as a single sheet, gets a second
    side by that, and a chain of faces that does not close is taken away.
    """
    for _ in range(_ROUNDS):
        if not _faulty(mesh.faces).any() and is_closed(mesh.faces):
            return mesh
        mesh = _capped(_split_fans(_without_faults(mesh)))
    return mesh.keep(np.zeros(len(mesh.faces), bool))


def _faulty(faces: np.ndarray) -> np.ndarray:
    """Faces (F,) with a corner twice, or at an edge that more than one face runs along that way."""
    edges = directed_edges(faces)
    _, number, uses = np.unique(edge_keys(edges), return_inverse=True, return_counts=True)
    _, whole, either = np.unique(edge_keys(np.sort(edges, axis=1)), return_inverse=True, return_counts=True)
    crowded = (uses[number] > 1) | (either[whole] > 2) | (edges[:, 0] == edges[:, 1])
    return crowded.reshape(3, -1).any(axis=0)


def _without_faults(mesh: ArrayMesh) -> ArrayMesh:
    """Faces that are there twice go first, and two back to back: often that is all that crowds an edge."""
    faces = mesh.faces
    flat = (faces == np.roll(faces, 1, axis=1)).any(axis=1)
    faces = faces[~flat]
    turns = (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3
    _, first = np.unique(np.take_along_axis(faces, turns, axis=1), axis=0, return_index=True)
    faces = faces[np.sort(first)]
    _, number, uses = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True, return_counts=True)
    faces = faces[uses[number.ravel()] == 1]
    faces = faces[~_faulty(faces)]
    return ArrayMesh(mesh.vertices, faces, mesh.colors)


def _split_fans(mesh: ArrayMesh) -> ArrayMesh:
    """A vertex for each of the fans of faces that meet in one."""
    faces = mesh.faces
    if len(faces) == 0:
        return mesh
    _, representative, number = np.unique(corner_fans(faces).ravel(), return_index=True, return_inverse=True)
    source = faces.reshape(-1)[representative]
    colors = None if mesh.colors is None else mesh.colors[source]
    return ArrayMesh(mesh.vertices[source], number.reshape(-1, 3).astype(np.int32), colors)


def _capped(mesh: ArrayMesh) -> ArrayMesh:
    """Each loop of open edges is closed by a fan round its middle."""
    edges = directed_edges(mesh.faces)
    rim = edges[~np.isin(edge_keys(edges), edge_keys(edges[:, ::-1]))]
    if len(rim) == 0:
        return mesh
    graph = coo_array((np.ones(len(rim), bool), (rim[:, 0], rim[:, 1])), (len(mesh.vertices),) * 2)
    _, label = connected_components(graph, directed=False)
    _, loop = np.unique(label[rim[:, 0]], return_inverse=True)
    length = np.bincount(loop)[:, None]
    middle = len(mesh.vertices) + loop
    caps = np.stack([rim[:, 1], rim[:, 0], middle], axis=1).astype(np.int32)

    def with_means(values: np.ndarray) -> np.ndarray:
        sums = np.stack(
            [np.bincount(loop, values[rim[:, 0], axis]) for axis in range(values.shape[1])], axis=1
        )
        return np.concatenate([values, (sums / length).astype(values.dtype)])

    colors = None if mesh.colors is None else with_means(mesh.colors)
    return ArrayMesh(with_means(mesh.vertices), np.concatenate([mesh.faces, caps]), colors)
