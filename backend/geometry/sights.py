"""From how many sides points of a mesh can be seen: depth pictures from directions all around it.

V vertices · F faces · N points · S size of a depth picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from backend.geometry.pieces import pieces
from backend.geometry.render import rasterise_where, touched_pixels

_GOLDEN = np.pi * (3 - np.sqrt(5))
_THREADS = 2
_LENGTHWISE = 2  # times that one looks along what was not seen
_PATCHES = 12  # of what was not seen; of the largest
_SCRAP = 0.01  # of the area of all patches
_TILT = 0.1  # tangent of the angle by which one looks past the axis of a patch
_Seen = TypeVar("_Seen")


def seen_counts(
    vertices: np.ndarray,
    faces: np.ndarray,
    points: np.ndarray,
    directions: int = 100,
    size: int = 512,
    behind: float = 2.0,
    enough: int = 1 << 30,
) -> np.ndarray:
    """From how many (N,) of the directions each of points (N, 3) is seen, past the faces (F, 3); what is
    `enough` is the most that is counted.

    A point may lie `behind` pixels behind what is drawn and still be seen.
    """
    if len(points) == 0 or len(faces) == 0:
        return np.zeros(len(points), np.int64)
    placed, tested = _in_unit_ball(vertices, points)
    counts = np.zeros(len(points), np.int64)

    def look(frame: np.ndarray) -> np.ndarray:
        open_points = np.flatnonzero(counts < enough)
        spots = _orthographic(tested[open_points], frame, size)
        wanted = np.zeros((size, size), np.bool_)
        wanted[_pixels(spots, size)] = True
        nearest = rasterise_where(_orthographic(placed, frame, size), faces, wanted)[1]
        return open_points[_before(nearest, spots, behind)]

    for seen in _from_sides(look, sphere(directions)):
        counts[seen] += 1
    return np.minimum(counts, enough)


def seen_faces(
    vertices: np.ndarray,
    faces: np.ndarray,
    points: np.ndarray,
    behind: float = 1.0,
    wait: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which faces (F,) are seen: drawn, or too small for that and not covered. And which of points (N, 3)
    are, no more than `behind` pixels behind what is drawn.

    One looks from 100 directions, and then along what these do not see, such as the insides of long holes.
    `wait` is called for each direction and may raise to stop.
    """
    size = 512
    placed, tested = _in_unit_ball(vertices, points)
    centres = placed[faces].mean(axis=1)
    some_faces, some_points = np.zeros(len(faces), bool), np.zeros(len(points), bool)

    def look(frame: np.ndarray) -> None:
        # Only pixels that may show what was not seen so far; soon they are few.
        open_faces, open_points = np.flatnonzero(~some_faces), np.flatnonzero(~some_points)
        drawn = _orthographic(placed, frame, size)
        middles = _orthographic(centres[open_faces], frame, size)
        spots = _orthographic(tested[open_points], frame, size)
        wanted = touched_pixels(drawn, faces[open_faces], size)
        wanted[_pixels(middles, size)] = True
        wanted[_pixels(spots, size)] = True
        shown, nearest = rasterise_where(drawn, faces, wanted)
        some_faces[shown[shown >= 0]] = True
        some_faces[open_faces[_before(nearest, middles, 1.0)]] = True
        some_points[open_points[_before(nearest, spots, behind)]] = True

    for again in range(1 + _LENGTHWISE):
        towards = _lengthwise(placed, faces[~some_faces]) if again else sphere(100)
        for _ in _from_sides(look, towards):
            wait()
    return some_faces, some_points


def sphere(count: int) -> np.ndarray:
    """Unit vectors (count, 3) spread evenly: a Fibonacci spiral."""
    n = np.arange(count)
    z = 1 - (2 * n + 1) / count
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(_GOLDEN * n), ring * np.sin(_GOLDEN * n), z], axis=1)


def _in_unit_ball(vertices: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both moved and scaled so that the vertices lie in the unit ball."""
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=1).max()) or 1.0
    return (vertices - middle) / radius, (points - middle) / radius


def _lengthwise(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 3) along the longest axis of each of the largest patches of faces, both ways, and a
    little to all sides of it.
    """
    _, patch = pieces(faces)
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    areas = np.bincount(patch, np.linalg.norm(np.cross(b - a, c - a), axis=1))
    largest = [n for n in np.argsort(-areas)[:_PATCHES] if areas[n] > _SCRAP * areas.sum()]
    sides = []
    for n in largest:
        centred = vertices[np.unique(faces[patch == n])]
        centred = centred - centred.mean(axis=0)
        across, beside, along = np.linalg.eigh(centred.T @ centred)[1].T
        tilts = np.stack([0 * along, across, -across, beside, -beside])
        sides += [way * along + _TILT * tilts for way in (1, -1)]
    towards = np.reshape(sides, (-1, 3))
    return towards / np.linalg.norm(towards, axis=1, keepdims=True)


def _from_sides(seen: Callable[[np.ndarray], _Seen], directions: np.ndarray) -> Iterator[_Seen]:
    """What is seen in the frame of each direction (N, 3); a caller that stops reading stops the work."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(lambda towards: seen(_frame(towards)), directions)


def _before(nearest: np.ndarray, placed: np.ndarray, behind: float) -> np.ndarray:
    """Which (N,) of placed points (N, 3) are no more than `behind` pixels behind the nearest (S, S)."""
    size = len(nearest)
    return placed[:, 2] >= nearest[_pixels(placed, size)] - behind * 2 / size


def _pixels(placed: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (N,) of the pixels that placed points (N, 3) lie in."""
    column, row = np.clip(placed[:, :2].astype(np.int64), 0, size - 1).T
    return row, column


def _orthographic(points: np.ndarray, frame: np.ndarray, size: int) -> np.ndarray:
    """(N, 3) in the unit ball -> column and row in pixels, and nearness, above 0."""
    right, up, ahead = (points @ frame.T).T
    return np.stack([(right + 1) / 2 * size, (1 - up) / 2 * size, 2 - ahead], axis=1)


def _frame(ahead: np.ndarray) -> np.ndarray:
    """Rows right, up, ahead (3, 3) of a camera that looks along `ahead`."""
    right = np.cross(ahead, np.eye(3)[np.abs(ahead).argmin()])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(right, ahead), ahead])
