"""The outer surface drawn again: one closed surface around what a mesh with slits and inner walls encloses.

V vertices · F faces · n corners of the grid along a side.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg
from skimage.measure import marching_cubes

from backend.finishing.arrays import ArrayMesh, links, vertex_normals
from backend.finishing.nearest import nearest_on_faces
from backend.finishing.openness import openness, walls_of
from backend.finishing.outside import BEYOND, close_distances, reached, spread
from backend.finishing.tunnels import without_tunnels

_OFFSET = 0.6  # cells; the surface is drawn this far outside the raw one and then laid onto it
_SKIN = 0.1  # cells; how far outside it stays, so that single sheets get two sides
_REACH = 1.5  # cells; a vertex farther from the raw surface spans a gap
_FACING = 0.5  # cosine between the two surfaces' normals below which a vertex is not laid onto the raw one
OPEN = 0.12
"""Share of the directions from which a place must be seen that the surface may be drawn around."""
_THIN = 4.25  # cells; half the width of tunnels that are closed where nobody looks through
_ROUNDING = 0.5  # cells; how much nearer a line of corners comes to a surface than the line itself
_PLAIN = 0.18  # share below which a vertex looks into a pit, which is spanned instead
_LOOK = 3.0  # cells before the surface at which its openness is read
_ROUNDS = 4


def rebuild(
    mesh: ArrayMesh, resolution: int, gap: float, wait: Callable[[], None] = lambda: None
) -> tuple[ArrayMesh, int]:
    """The closed surface, and how many tunnels were closed that nobody looks through.

    gap: in cells of the longest side / `resolution`. Empty if there is no face. `wait` is called between the
    parts of the work and may raise to stop.
    """
    if len(mesh.faces) == 0:
        return mesh, 0
    space = _Space.around(mesh, resolution, gap)
    wait()
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(openness, walls_of(space.distance))
        space.fill()
        open_share = opened.result()
    wait()
    outside, to_centre = reached(space.distance, gap, open_share >= OPEN)
    wait()
    points, faces = _drawn(_field(space.distance, to_centre, outside, gap))
    closed = 0
    if _handles(points, faces):
        wait()
        outside, closed = without_tunnels(outside, space.distance, space.band, gap - _ROUNDING)
        wait()
        points, faces = _drawn(_field(space.distance, to_centre, outside, gap)) if closed else (points, faces)
    del outside, to_centre
    return space.laid(points, faces, open_share, wait), closed


def without_hidden_tunnels(
    mesh: ArrayMesh, resolution: int, wait: Callable[[], None] = lambda: None
) -> tuple[ArrayMesh, int]:
    """The same of a sound mesh, whose surface is drawn again only if there are such tunnels, and not where
    that would close openings that one can look through.
    """
    gap = 1.0
    space = _Space.around(mesh, resolution, gap)
    wait()
    walls = walls_of(space.distance)
    space.fill()
    wait()
    outside, to_centre = reached(space.distance, gap, np.ones_like(walls))
    wait()
    outside, closed = without_tunnels(outside, space.distance, space.band, gap - _ROUNDING)
    if not closed:
        return mesh, 0
    wait()
    points, faces = _drawn(_field(space.distance, to_centre, outside, gap))
    del outside, to_centre
    wait()
    if _handles(points, faces) < _handles(mesh.vertices, mesh.faces) - closed:
        return mesh, 0
    return space.laid(points, faces, openness(walls), wait), closed


def _drawn(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) f64 in cells and faces (F, 3) i32 of the surface where the field is 0."""
    points, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent", allow_degenerate=False)
    return points.astype(np.float64), faces.astype(np.int32)


def _handles(points: np.ndarray, faces: np.ndarray) -> int:
    """Of all parts of a closed surface together, by Euler's formula."""
    count = connected_components(links(faces, len(points)), directed=False)[0]
    return count - (len(points) - len(faces) // 2) // 2


@dataclass(frozen=True)
class _Grid:
    """Corners at origin + cell · (start + (i, j, k)), as many along each axis as `shape` says."""

    origin: np.ndarray
    cell: float
    start: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, vertices: np.ndarray, resolution: int, band: float) -> _Grid:
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        cell = max(float((high - low).max()) / resolution, 1e-30)
        margin = int(np.ceil(band)) + 2
        size = resolution + 2 * margin + 1
        # Less at both ends of shorter sides, by whole cells of the coarse grid.
        start = 2 * ((resolution - (high - low) / cell) / 4).clip(0).astype(int)
        first, second, third = (size - 2 * start).tolist()
        return cls((low + high) / 2 - cell * (size - 1) / 2, cell, start, (first, second, third))

    def to_cells(self, vertices: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray((vertices - self.origin) / self.cell - self.start)

    def from_cells(self, points: np.ndarray) -> np.ndarray:
        return (points + self.start) * self.cell + self.origin


@dataclass(frozen=True)
class _Space:
    """A mesh in cells of a grid · distance (n, n, n) f32 from it, up to `band` cells · nearest (n, n, n) i32
    face of each corner.
    """

    grid: _Grid
    mesh: ArrayMesh
    distance: np.ndarray
    nearest: np.ndarray
    band: float

    @classmethod
    def around(cls, mesh: ArrayMesh, resolution: int, gap: float) -> _Space:
        """With the distances that `close_distances` finds."""
        band = max(gap + BEYOND, _THIN)
        grid = _Grid.around(mesh.vertices, resolution, band)
        placed = replace(mesh, vertices=grid.to_cells(mesh.vertices))
        return cls(grid, placed, *close_distances(placed.vertices, mesh.faces, grid.shape), band)

    def fill(self) -> None:
        """Carry the distances on to the band's end, in place."""
        spread(self.distance, self.nearest, self.mesh.vertices, self.mesh.faces, self.band)

    def laid(
        self, points: np.ndarray, faces: np.ndarray, open_share: np.ndarray, wait: Callable[[], None]
    ) -> ArrayMesh:
        """The mesh of points (V, 3) in cells and faces (F, 3), laid onto the surface, in its own units."""
        laid = _lay(points, faces, self.mesh, self.nearest, open_share, wait)
        return ArrayMesh(self.grid.from_cells(laid.vertices), laid.faces, laid.colors)


def _field(distance: np.ndarray, to_centre: np.ndarray, outside: np.ndarray, gap: float) -> np.ndarray:
    """Positive outside. Before a wall the distance from it counts, in a gap how far the ball can come."""
    free = np.float32(gap + 0.5) - to_centre
    before = np.minimum(distance - np.float32(_OFFSET), np.maximum(free, np.float32(0.05)))
    behind = np.where(distance < 1, np.float32(-_OFFSET), np.clip(free, -1, np.float32(-0.05)))
    return np.where(outside, before, behind)


def _lay(
    points: np.ndarray,
    faces: np.ndarray,
    raw: ArrayMesh,
    nearest: np.ndarray,
    open_share: np.ndarray,
    wait: Callable[[], None],
) -> ArrayMesh:
    """Vertices moved onto the raw surface where it is near, faces the same way and lies open.

    The others span the opening between those like a soap film.
    """
    linked = links(faces, len(points))
    degree = np.asarray(linked.sum(axis=1))[:, None]
    for number in range(_ROUNDS):
        wait()
        normals = vertex_normals(ArrayMesh(points, faces))
        found = nearest_on_faces(points, nearest, raw.vertices, raw.faces)
        near = found.near(_REACH) & (np.abs((found.normals * normals).sum(axis=1)) > _FACING)
        on = near & (_sampled(open_share, points + _LOOK * normals) >= _PLAIN)
        if number == _ROUNDS - 1:
            on |= near & _leads_through(linked, faces, ~on)
        laid = np.where(on[:, None], found.points + _SKIN * normals, points)
        points = laid if number == _ROUNDS - 1 else (laid + linked @ laid / degree) / 2
    shown, shown_faces = raw.colors, raw.faces
    if raw.corner_colors is not None:
        shown = raw.corner_colors.reshape(-1, 3)
        shown_faces = np.arange(len(shown)).reshape(-1, 3)
    colors = None if shown is None else _spanned(found.values(shown, shown_faces), linked, on)
    wait()
    return ArrayMesh(_spanned(points, linked, on), faces, colors)


def _leads_through(linked: csr_array, faces: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Vertices (V,) in patches of free ones that are no discs: a film across a hole would become a thread."""
    within = linked[free][:, free].tocoo()
    count, patch = connected_components(within, directed=False)
    number = np.zeros(len(free), np.int64)
    number[free] = patch
    inner = faces[free[faces].all(axis=1), 0]
    euler = np.bincount(patch, minlength=count) - np.bincount(patch[within.row], minlength=count) // 2
    euler += np.bincount(number[inner], minlength=count)
    result = np.zeros(len(free), bool)
    result[free] = (euler < 1)[patch]
    return result


def _sampled(coarse: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values (N,) of the cells (m, m, m) that points (N, 3) lie in."""
    rows = np.clip((points / 2).astype(np.int64), 0, np.array(coarse.shape) - 1)
    return coarse[rows[:, 0], rows[:, 1], rows[:, 2]]


def _spanned(values: np.ndarray, linked: csr_array, fixed: np.ndarray) -> np.ndarray:
    """Values (V, C), where not fixed the mean of their neighbours': harmonic, and smooth across a gap."""
    free = np.flatnonzero(~fixed)
    if len(free) == 0 or len(free) == len(values):
        return values
    rows = linked[free]
    system = diags_array(np.asarray(rows.sum(axis=1))) - rows[:, free]
    given = rows[:, np.flatnonzero(fixed)] @ values[fixed]
    values = values.copy()
    for channel in range(values.shape[1]):
        start = values[free, channel]
        values[free, channel], _ = cg(system, given[:, channel], x0=start, rtol=1e-4, maxiter=200)
    return values
