"""What no outside view reaches of a mesh is removed, and the surface closed again.

V vertices · F faces.
"""

from __future__ import annotations

import numpy as np

from backend.finishing.arrays import ArrayMesh, face_areas, parts
from backend.finishing.closing import close_mesh, is_closed
from backend.finishing.report import MeshFacts
from backend.geometry.sights import seen_counts, seen_faces

_WHOLE, _GONE = 0.97, 0.003  # share of a part's area that is seen where all of it is, and where none is
_SAMPLES = 20_000
_MOST_HANDLES = 4  # of a sound mesh; slits between inner and outer walls are handles
_SEVERAL = 5  # of the views
_SAME = 0.999  # share of what was seen before that must be seen afterwards


def is_sound(mesh: ArrayMesh, facts: MeshFacts) -> bool:
    """Whether a mesh encloses volumes without leaks: closed, and each part seen all around or not at all."""
    if facts.genus is None or facts.volume is None or facts.genus > _MOST_HANDLES or facts.volume <= 0:
        return False
    number, areas = parts(mesh), face_areas(mesh)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(areas), _SAMPLES, p=areas / areas.sum())
    weights = rng.dirichlet((1.0, 1.0, 1.0), _SAMPLES)
    points = np.einsum("pk,pkc->pc", weights, mesh.vertices[mesh.faces[chosen]])
    seen = seen_counts(mesh.vertices, mesh.faces, points, behind=1) > 0
    share = np.bincount(number[chosen], seen) / np.maximum(np.bincount(number[chosen]), 1)
    return bool(((share >= _WHOLE) | (share <= _GONE)).all())


def remove_hidden(mesh: ArrayMesh) -> ArrayMesh:
    """The mesh without the faces that no outside view sees, closed again if it was; itself if all is seen.

    Parts that are hidden go whole. Of parts seen in some places the hidden faces go where what is seen stays
    the same after closing.
    """
    seen = seen_faces(mesh.vertices, mesh.faces)
    if seen.all():
        return mesh
    number, share = parts(mesh), _seen_share(mesh, seen)
    shown = share > _GONE
    outer = mesh if shown.all() else mesh.keep(shown[number])
    partly = shown & (share < _WHOLE)
    if not partly.any():
        return outer
    keeps = shown[number] & (seen | ~partly[number])
    rim = np.zeros(len(mesh.vertices), bool)
    rim[mesh.faces[keeps]] = True  # faces beside seen ones stay: no pixel of what is seen gets lost
    cut = mesh.keep(shown[number] & (keeps | rim[mesh.faces].any(axis=1)))
    closed = close_mesh(cut) if is_closed(mesh.faces) else cut
    return closed if _looks_alike(closed, mesh) else outer


def _looks_alike(made: ArrayMesh, mesh: ArrayMesh) -> bool:
    """Whether the faces of `mesh` that several views see are still seen with `made` in its place."""
    if len(made.faces) == 0:
        return False
    centres, areas = mesh.vertices[mesh.faces].mean(axis=1), face_areas(mesh)
    before = seen_counts(mesh.vertices, mesh.faces, centres) >= _SEVERAL
    after = seen_counts(made.vertices, made.faces, centres) > 0
    return bool(areas[before & after].sum() >= _SAME * areas[before].sum())


def _seen_share(mesh: ArrayMesh, seen: np.ndarray) -> np.ndarray:
    """Of each part the share of its area that is seen."""
    number, areas = parts(mesh), face_areas(mesh)
    return np.bincount(number, areas * seen) / np.maximum(np.bincount(number, areas), 1e-30)
