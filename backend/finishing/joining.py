"""Small parts that float beside a body are joined to it by a tube where they come nearest.

V vertices · F faces · P parts · L corners of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from backend.finishing.arrays import ArrayMesh, vertex_normals
from backend.geometry.pieces import directed_edges

_THICK = 0.35  # of a part's middle extent; the radius of the tube
_THICKEST = 0.02  # of the longest side


@dataclass(frozen=True)
class _Gap:
    """Between a vertex of a part and the nearest one of what it is joined to."""

    part: int
    here: int
    there: int


def join_parts(
    mesh: ArrayMesh,
    number: np.ndarray,
    bodies: np.ndarray,
    loose: np.ndarray,
    reach: float,
    wait: Callable[[], None] = lambda: None,
) -> tuple[ArrayMesh, int]:
    """A closed mesh whose loose parts (P,) bool within `reach` of a body (P,) bool hang together with it, and
    how many parts those are; number (F,): the part of each face.

    What is near a part that was joined is joined too. No vertex moves. Parts that lie inside are left alone.
    `wait` is called for each gap and may raise to stop.
    """
    gaps = _gaps(mesh, number, bodies, loose, reach, wait)
    if not gaps:
        return mesh, 0
    surface, tree, count = _Surface(mesh), cKDTree(mesh.vertices), 0
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(len(bodies) + 1))
    longest = float((mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).max())
    for gap in gaps:
        wait()
        own = mesh.faces[order[starts[gap.part] : starts[gap.part + 1]]]
        middle = float(np.sort(np.ptp(mesh.vertices[np.unique(own)], axis=0))[1])
        radius = min(_THICK * middle, _THICKEST * longest)
        discs = []
        for end in (gap.here, gap.there):
            near = np.array([end, *tree.query_ball_point(mesh.vertices[end], radius)])
            numbers, faces = surface.round(near)
            disc = _disc(mesh.vertices, faces, end, radius)
            discs.append((numbers[disc], faces[disc]))
        if all(len(faces) for _, faces in discs):
            here, there = (_loop(faces) for _, faces in discs)
            surface.exchange([one for one, _ in discs], _tube(mesh.vertices, here, there[::-1]))
            count += 1
    faces = surface.faces()
    return ArrayMesh(mesh.vertices, faces, mesh.colors).keep(np.ones(len(faces), bool)), count


class _Surface:
    """A mesh's faces, of which some go and others come, found by their corners."""

    def __init__(self, mesh: ArrayMesh) -> None:
        self._own = mesh.faces
        self._alive = np.ones(len(mesh.faces), bool)
        self._order = np.argsort(mesh.faces.reshape(-1), kind="stable")
        self._starts = np.searchsorted(mesh.faces.reshape(-1)[self._order], np.arange(len(mesh.vertices) + 1))
        self._added: dict[int, tuple[int, ...]] = {}
        self._at: dict[int, list[int]] = {}
        self._next = len(mesh.faces)

    def round(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (F,) and corners (F, 3) of the faces that have one of the vertices."""
        corners = [self._order[self._starts[v] : self._starts[v + 1]] for v in vertices]
        own = np.unique(np.concatenate(corners) // 3)
        own = own[self._alive[own]]
        more = sorted({n for v in vertices.tolist() for n in self._at.get(v, ()) if n in self._added})
        added = np.array([self._added[n] for n in more], self._own.dtype).reshape(-1, 3)
        return np.concatenate([own, np.array(more, np.int64)]), np.concatenate([self._own[own], added])

    def exchange(self, gone: list[np.ndarray], new: np.ndarray) -> None:
        """Take faces away by their numbers and add others (F, 3)."""
        for number in np.concatenate(gone).tolist():
            if number < len(self._own):
                self._alive[number] = False
            else:
                self._added.pop(number, None)
        for number, face in enumerate(new.tolist(), start=self._next):
            self._added[number] = tuple(face)
            for corner in face:
                self._at.setdefault(corner, []).append(number)
        self._next += len(new)

    def faces(self) -> np.ndarray:
        """All of them (F, 3), the added ones last."""
        added = np.array([*self._added.values()], np.int32).reshape(-1, 3)
        return np.concatenate([self._own[self._alive], added]).astype(np.int32)


def _gaps(
    mesh: ArrayMesh,
    number: np.ndarray,
    bodies: np.ndarray,
    loose: np.ndarray,
    reach: float,
    wait: Callable[[], None],
) -> list[_Gap]:
    """The gaps to be spanned, the bodies' neighbours first."""
    gaps: list[_Gap] = []
    normals = vertex_normals(mesh)
    reached, left = bodies, loose.copy()
    while reached.any() and left.any():
        wait()
        there = np.unique(mesh.faces[reached[number]])
        here, first = np.unique(mesh.faces[left[number]], return_index=True)
        parts = np.repeat(number[left[number]], 3)[first]
        distance, nearest = cKDTree(mesh.vertices[there]).query(
            mesh.vertices[here], distance_upper_bound=reach
        )
        order = np.lexsort((distance, parts))
        order = order[np.unique(parts[order], return_index=True)[1]]
        order = order[np.isfinite(distance[order])]
        ends = here[order], there[nearest[order]]
        across = mesh.vertices[ends[1]] - mesh.vertices[ends[0]]
        facing = [
            (normals[end] * across).sum(axis=1) * sign > 0 for end, sign in zip(ends, (1, -1), strict=True)
        ]
        reached = np.zeros_like(loose)
        reached[parts[order]] = True
        left &= ~reached
        order = order[facing[0] & facing[1]]
        gaps += [_Gap(int(parts[row]), int(here[row]), int(there[nearest[row]])) for row in order]
    return gaps


def _disc(vertices: np.ndarray, faces: np.ndarray, centre: int, radius: float) -> np.ndarray:
    """Of all faces (F,) near a vertex those round it up to a radius, at least its fan; none where that is no
    disc.
    """
    used, corners = np.unique(faces, return_inverse=True)
    corners = corners.reshape(-1, 3)
    grown = (faces == centre).any(axis=1)
    disc = grown if _is_disc(faces[grown]) else np.zeros_like(grown)
    near = np.linalg.norm(vertices[used] - vertices[centre], axis=1) <= radius
    within = np.flatnonzero(near[corners].all(axis=1))
    while disc.any():
        rim = np.zeros(len(used), bool)
        rim[corners[grown]] = True
        more = grown.copy()
        more[within[rim[corners[within]].any(axis=1)]] = True
        if (more == grown).all():
            break
        grown = more
        disc = grown if _is_disc(faces[grown]) else disc
    return disc


def _rim(faces: np.ndarray) -> np.ndarray:
    """The directed edges (L, 2) of faces that have no face of these on their other side."""
    edges = directed_edges(faces).astype(np.int64)
    keys, turned = edges[:, 0] << 32 | edges[:, 1], edges[:, 1] << 32 | edges[:, 0]
    return edges[~np.isin(keys, turned)]


def _is_disc(faces: np.ndarray) -> bool:
    """Whether one loop bounds the faces (F, 3), which hang together, and they have no handle."""
    rim = _rim(faces)
    if len(rim) < 3 or any(len(np.unique(ends)) < len(rim) for ends in rim.T) or len(_loop(faces)) < len(rim):
        return False
    return len(np.unique(faces)) - (3 * len(faces) + len(rim)) // 2 + len(faces) == 1


def _loop(faces: np.ndarray) -> np.ndarray:
    """The corners (L,) of the loop that bounds the faces, as these run round it; of one of several loops."""
    rim = _rim(faces)
    following = dict(rim.tolist())
    loop = [int(rim[0, 0])]
    while len(loop) < len(rim) and (corner := following[loop[-1]]) != loop[0]:
        loop.append(corner)
    return np.array(loop)


def _tube(vertices: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Faces (N, 3) between two loops (L,) that run round the same way: edges of the first as they are, of the
    other turned.
    """
    apart = np.linalg.norm(vertices[one][:, None] - vertices[other][None], axis=2)
    start = np.unravel_index(apart.argmin(), apart.shape)
    one, other = np.roll(one, -start[0]), np.roll(other, -start[1])
    shares = [_shares(vertices[loop]) for loop in (one, other)]
    faces = []
    i = j = 0
    while i < len(one) or j < len(other):
        a, b = one[i % len(one)], other[j % len(other)]
        if j == len(other) or (i < len(one) and shares[0][i + 1] <= shares[1][j + 1]):
            i += 1
            faces.append((a, one[i % len(one)], b))
        else:
            j += 1
            faces.append((other[j % len(other)], b, a))
    return np.array(faces)


def _shares(points: np.ndarray) -> np.ndarray:
    """How far (L + 1,) along a closed loop of points (L, 3) each of them lies, from 0 to 1."""
    steps = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    return along / max(float(along[-1]), 1e-30)
