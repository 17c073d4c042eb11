"""Connected parts of a mesh: small ones near a body are joined to it, and crumbs go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from backend.finishing.arrays import ArrayMesh, face_areas, is_closed, parts
from backend.finishing.joining import join_parts

_NEAR = 0.01  # of the longest side; a small part so close to a kept one belongs to the object
_LEAST = 0.05  # of the share; what is smaller than that is a crumb wherever it lies
_BODY = 0.1  # of the largest part's area, from which on a part stands for itself
_REACH = 0.04  # of the longest side; a smaller part so close to a body has come off it


def join_loose_parts(
    mesh: ArrayMesh, share: float, wait: Callable[[], None] = lambda: None
) -> tuple[ArrayMesh, int]:
    """A closed mesh whose small parts near a body hang together with it, and how many those were.

    Parts of less than `share` of the largest part's area are joined too unless they are tiny. `wait` is
    called again and again and may raise to stop.
    """
    if len(mesh.faces) == 0:
        return mesh, 0
    number = parts(mesh)
    area = np.bincount(number, face_areas(mesh))
    bodies = area >= _BODY * area.max()
    loose = ~bodies & (area >= _LEAST * share * area.max())
    if not loose.any() or not is_closed(mesh.faces):
        return mesh, 0
    reach = _REACH * float((mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).max())
    return join_parts(mesh, number, bodies, loose, reach, wait)


def remove_crumbs(mesh: ArrayMesh, share: float) -> tuple[ArrayMesh, int]:
    """The mesh without parts of less than `share` of the largest part's area, and how many those were.

    A part that nearly touches one that stays belongs to the object unless it is tiny.
    """
    if len(mesh.faces) == 0 or share == 0:
        return mesh, 0
    number = parts(mesh)
    area = np.bincount(number, face_areas(mesh))
    stays = area >= share * area.max()
    close = area >= _LEAST * share * area.max()
    if (close & ~stays).any():
        stays |= close & _touching(mesh, number, stays)
    return mesh.keep(stays[number]), int((~stays).sum())


def _touching(mesh: ArrayMesh, number: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """Which parts have a vertex near a part that stays."""
    kept = mesh.vertices[np.unique(mesh.faces[stays[number]])]
    reach = _NEAR * float((mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).max())
    others = ~stays[number]
    corners, owners = mesh.faces[others].reshape(-1), np.repeat(number[others], 3)
    distance, _ = cKDTree(kept).query(mesh.vertices[corners], distance_upper_bound=reach)
    near = np.zeros(len(stays), bool)
    near[owners[np.isfinite(distance)]] = True
    return near
