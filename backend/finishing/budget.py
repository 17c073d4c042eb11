"""A mesh within a budget of faces: quadric edge collapses that keep the borders of colours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backend.finishing.arrays import ArrayMesh, face_areas, is_closed, parts, vertex_normals
from backend.finishing.closing import close_mesh
from backend.finishing.collapse import collapsed
from backend.finishing.parts import join_loose_parts
from backend.machine.child import in_child

_SPARE = 0.004  # of the budget, for the repair of edges that collapsing left crowded
_HASTE = (3, 3, 7, 12)  # how readily edges collapse; in haste the budget is kept where care does not reach it
_STEP = 0.12  # of a face's width; the height that the whole range of a colour stands for
_WIDTH = 2.3  # squared width of a face of area 1 with sides of one length
_UNEVEN = 1e-5  # of the longest side
_ROOM = 0.1  # of how far points that became one lie apart; how far beyond them it may lie
_SPLINTER = 0.002  # of the largest part's area; a part below it that collapsing pinched off goes
_MANY_FACES = 300_000  # from which on collapsing takes half a second, in which nothing else of a process runs


def reduce_faces(mesh: ArrayMesh, faces: int, wait: Callable[[], None] = lambda: None) -> ArrayMesh:
    """At most `faces` faces (0: all of them), closed if they were; fine where shape or colour changes.

    Where collapsing does not reach so few, the smallest parts go.
    `wait` is called again and again and may raise to stop.
    """
    if faces == 0 or len(mesh.faces) <= faces:
        return mesh
    closed = is_closed(mesh.faces)
    # What may collapse is judged by absolute distances, so the longest side becomes 1 meanwhile.
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    middle, size = (low + high) / 2, float((high - low).max()) or 1.0
    fewer = ArrayMesh((mesh.vertices - middle) / size, mesh.faces, mesh.colors)
    for haste in _HASTE:
        fewer = _collapsed(fewer, round(faces * (1 - _SPARE)) if closed else faces, haste, wait)
        if closed:
            fewer = close_mesh(fewer)
        if len(fewer.faces) <= faces:
            break
    if len(fewer.faces) and (more := int(parts(fewer).max() - parts(mesh).max())) > 0:
        fewer = _without_splinters(fewer, faces, more, wait)
    if len(fewer.faces) > faces:
        fewer = _largest_parts(fewer, faces)
    return ArrayMesh(fewer.vertices * size + middle, fewer.faces, fewer.colors)


def _without_splinters(mesh: ArrayMesh, faces: int, more: int, wait: Callable[[], None]) -> ArrayMesh:
    """Without the `more` parts that collapsing pinched off: a limb is joined again, a splinter goes."""
    joined, count = join_loose_parts(mesh, _SPLINTER, wait)
    if count and len(joined.faces) <= faces:
        mesh, more = joined, more - count
    number = parts(mesh)
    area = np.bincount(number, face_areas(mesh))
    smallest = np.argsort(area, kind="stable")[: max(more, 0)]
    gone = smallest[area[smallest] < _SPLINTER * area.max()]
    return mesh.keep(~np.isin(number, gone))


def _largest_parts(mesh: ArrayMesh, faces: int) -> ArrayMesh:
    """The parts of the largest area that have at most `faces` faces together, and at least one."""
    number = parts(mesh)
    order = np.argsort(-np.bincount(number, face_areas(mesh)), kind="stable")
    stays = np.zeros(len(order), bool)
    stays[order] = np.cumsum(np.bincount(number)[order]) <= faces
    stays[order[0]] = True
    return mesh.keep(stays[number])


def _collapsed(mesh: ArrayMesh, faces: int, haste: int, wait: Callable[[], None]) -> ArrayMesh:
    """Of a mesh whose longest side is 1. The colours are a relief while it is decided which edges collapse:
    their borders are creases then.
    """
    # What is exactly flat would not collapse.
    relief = mesh.vertices + _UNEVEN * np.random.default_rng(0).standard_normal(mesh.vertices.shape)
    if mesh.colors is not None:
        width = np.sqrt(_WIDTH * face_areas(mesh).sum() / faces)
        height = (_STEP * width * _main_shade(mesh.colors))[:, None]
        relief = relief + height * vertex_normals(mesh)
    points = mesh.vertices.astype(np.float32)
    arrays = relief.astype(np.float32), points, mesh.faces
    vertices, fewer, merged = _in_child_if_large(arrays, faces, haste, wait)
    colors = None
    if mesh.colors is not None:
        counts = np.maximum(np.bincount(merged, minlength=len(vertices)), 1)
        sums = (np.bincount(merged, one, len(vertices)) for one in mesh.colors.T)
        colors = np.stack([one / counts for one in sums], axis=1).astype(np.float32)
    vertices = _near_what_they_were(vertices.astype(np.float64), points, merged)
    return ArrayMesh(vertices, fewer.astype(np.int32), colors).keep(np.ones(len(fewer), bool))


def _near_what_they_were(vertices: np.ndarray, points: np.ndarray, merged: np.ndarray) -> np.ndarray:
    """Vertices (W, 3) that lie by the points (V, 3) that went into them, as `merged` (V,) says: quadrics may
    place a vertex anywhere on a flat surface or a straight edge.
    """
    order = np.argsort(merged, kind="stable")
    used, first = np.unique(merged[order], return_index=True)
    low, high = (
        extreme.reduceat(points[order], first).astype(np.float64) for extreme in (np.minimum, np.maximum)
    )
    room = _ROOM * np.linalg.norm(high - low, axis=1, keepdims=True)
    result = vertices.copy()
    result[used] = np.where(
        np.isfinite(vertices[used]), np.clip(vertices[used], low - room, high + room), (low + high) / 2
    )
    return result


def _in_child_if_large(
    arrays: tuple[np.ndarray, ...], count: int, haste: int, wait: Callable[[], None]
) -> tuple[np.ndarray, ...]:
    if len(arrays[-1]) < _MANY_FACES:
        relief, points, faces = arrays
        return collapsed(relief, points, faces, count, haste)
    name = f"{collapsed.__module__}:{collapsed.__name__}"
    return in_child(name, arrays, {"count": count, "haste": haste}, wait)


def _main_shade(colors: np.ndarray) -> np.ndarray:
    """Where each colour (V, 3) lies along the line on which the colours differ most, (V,)."""
    centred = colors.astype(np.float64) - colors.mean(axis=0)
    return centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
