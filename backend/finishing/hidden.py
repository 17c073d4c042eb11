"""What no outside view reaches of a mesh is removed, and the surface closed again.

V vertices · F faces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backend.finishing.arrays import ArrayMesh, face_areas, is_closed, parts
from backend.finishing.closing import close_mesh
from backend.finishing.report import MeshFacts
from backend.geometry.pieces import inside_out
from backend.geometry.sights import seen_counts, seen_faces

_WHOLE, _GONE = 0.996, 0.003  # share of a part's area that is seen where all of it is, and where none is
_LEAK = 0.95  # share below which a surface is one with slits, not one with narrow openings
_SAMPLES = 20_000
_MOST_HANDLES = 24  # of a sound mesh; slits between inner and outer walls are handles
_SCRAP = 0.01  # of the largest part's area
_SEVERAL = 5  # of the views
_SAME = 0.999  # share of what was seen before that must be seen afterwards


@dataclass(frozen=True)
class Sight:
    """parts (F,): the number of each face's part · faces (F,): which are seen from outside · shares (P,): of
    each part the share of its area that is seen.
    """

    parts: np.ndarray
    faces: np.ndarray
    shares: np.ndarray


def sight_of(mesh: ArrayMesh, wait: Callable[[], None] = lambda: None) -> Sight:
    """What is seen of a mesh that has faces. `wait` is called again and again and may raise to stop."""
    number, areas = parts(mesh), face_areas(mesh)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(areas), _SAMPLES, p=areas / areas.sum() if areas.any() else None)
    weights = rng.dirichlet((1.0, 1.0, 1.0), _SAMPLES)
    points = np.einsum("pk,pkc->pc", weights, mesh.vertices[mesh.faces[chosen]])
    faces, seen = seen_faces(mesh.vertices, mesh.faces, points, wait=wait)
    count = int(number.max()) + 1
    tested = np.bincount(number[chosen], minlength=count)
    return Sight(number, faces, np.bincount(number[chosen], seen, count) / np.maximum(tested, 1))


def may_be_sound(facts: MeshFacts) -> bool:
    """Whether a mesh is closed, encloses something and has few handles."""
    return facts.genus is not None and facts.genus <= _MOST_HANDLES and (facts.volume or 0) > 0


def turned_outwards(mesh: ArrayMesh, piece: np.ndarray, sight: Callable[[], Sight]) -> ArrayMesh:
    """The mesh with closed pieces (F,) turned outwards unless they are walls of a hollow: nothing of those is
    seen. Itself where all are; what is seen is asked for only if it matters.
    """
    inwards = inside_out(mesh.vertices, mesh.faces, piece)
    if not inwards.any():
        return mesh
    areas = face_areas(mesh)
    shown = np.bincount(piece, areas * sight().faces) > _GONE * np.bincount(piece, areas)
    turn = inwards & shown[piece]
    return mesh.turned(turn) if turn.any() else mesh


def leaks(sight: Sight) -> bool:
    """Whether some part is seen in some places only."""
    return bool(((sight.shares < _LEAK) & (sight.shares > _GONE)).any())


def remove_hidden(mesh: ArrayMesh, sight: Sight) -> ArrayMesh:
    """The mesh without the faces that no outside view sees, closed again if it was; itself if nothing goes.

    Parts that are hidden go whole. Of parts seen in some places the hidden faces go where what is seen stays
    the same after closing.
    """
    seen, number = sight.faces, sight.parts
    if seen.all():
        return mesh
    areas = face_areas(mesh)
    share = np.bincount(number, areas * seen) / np.maximum(np.bincount(number, areas), 1e-30)
    shown = share > _GONE
    outer = mesh if shown.all() else mesh.keep(shown[number])
    partly = shown & (share < _WHOLE)
    if not partly.any():
        return outer
    keeps = shown[number] & (seen | ~partly[number])
    rim = np.zeros(len(mesh.vertices), bool)
    rim[mesh.faces[keeps]] = True  # what lies between seen faces stays: no pixel of what is seen gets lost
    cut = mesh.keep(shown[number] & (keeps | rim[mesh.faces].all(axis=1)))
    closed = close_mesh(cut) if is_closed(mesh.faces) else cut
    closed = _without_scraps(closed, np.bincount(number, areas)[shown])
    return closed if _is_better(closed, mesh, seen) else outer


def _without_scraps(mesh: ArrayMesh, areas: np.ndarray) -> ArrayMesh:
    """What was cut without the pieces that are much smaller than all of its parts, with areas (P,), were."""
    piece = parts(mesh)
    least = min(_SCRAP * areas.max(), areas.min() / 2)
    return mesh.keep((np.bincount(piece, face_areas(mesh)) >= least)[piece])


def _is_better(made: ArrayMesh, mesh: ArrayMesh, seen: np.ndarray) -> bool:
    """Whether the faces of `mesh` that several views see are still seen with `made` in its place, and less of
    that is hidden than of `mesh`, whose faces (F,) are `seen` or not.
    """
    if len(made.faces) == 0:
        return False
    centres, areas, own_areas = mesh.vertices[mesh.faces].mean(axis=1), face_areas(mesh), face_areas(made)
    shown, still = seen_faces(made.vertices, made.faces, centres, behind=2.0)
    if own_areas @ ~shown * areas.sum() >= areas @ ~seen * own_areas.sum():
        return False
    before = seen_counts(mesh.vertices, mesh.faces, centres, enough=_SEVERAL) >= _SEVERAL
    return bool(areas[before & still].sum() >= _SAME * areas[before].sum())
