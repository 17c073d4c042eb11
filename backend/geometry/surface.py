"""A mesh in the unit cube -> signed distance and nearest face at the corners of a grid, and nearest points.

Inside means enclosed: not reachable from outside along grid edges that no triangle crosses. So single sheets
and open shells, which most low-poly assets have, are all outside; callers thicken them by a small offset.
V vertices · F faces · N points · a grid of R cells has R + 1 corners a side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

_GAP = 0.5  # cells; narrower gaps between triangles count as closed


@dataclass(frozen=True)
class DistanceField:
    """distance (n, n, n) f32 signed, in cells, ±band where farther · face (n, n, n) i32 nearest, or −1."""

    distance: np.ndarray
    face: np.ndarray


def distance_field(
    vertices: np.ndarray,
    faces: np.ndarray,
    cells: int,
    band: float,
    box: tuple[np.ndarray, np.ndarray] | None = None,
) -> DistanceField:
    """Signed distance in cells at the (cells + 1)³ corners of the unit cube, exact within the band.

    With a box (lowest and highest corner, (3,) each) only the corners in it are looked at; the rest is ±band.
    """
    grid = (vertices + 0.5) * cells
    low, high = box if box is not None else (np.zeros(3, np.int64), np.full(3, cells, np.int64))
    distance, face = nearest_faces(grid, faces, (cells + 1,) * 3, band, low, high)
    inside = _enclosed(_crossed_edges(grid + 1, faces, cells + 3))[1:-1, 1:-1, 1:-1]
    return DistanceField(np.where(inside, -distance, distance), face)


def nearest_colors(
    corners: np.ndarray,
    face: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    corner_colors: np.ndarray,
    cells: int,
) -> np.ndarray:
    """Colour (N, 3) in [0, 1] of the surface point nearest to each corner (N, 3) i32; grey where face is
    −1.
    """
    points = corners / cells - 0.5
    return _points(points, face, vertices, faces, corner_colors)[1]


def nearest_points(
    points: np.ndarray, face: np.ndarray, vertices: np.ndarray, faces: np.ndarray, corner_colors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest point, its colour in [0, 1] and the face's unit normal, each (N, 3) f32, on the given faces
    (N,).

    Where face is −1 the point itself, grey and a zero normal.
    """
    return _points(points, face, vertices, faces, corner_colors)


@njit(nogil=True, cache=True)
def nearest_faces(
    grid: np.ndarray,
    faces: np.ndarray,
    shape: tuple[int, int, int],
    band: float,
    box_low: np.ndarray,
    box_high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance f32 and nearest face i32, or the band and −1 where farther, of the corners of a grid in a box.

    grid: vertices (V, 3) f64 in cells. box_low, box_high (3,): the lowest and highest corner looked at.
    """
    distance = np.full(shape, band * band, np.float32)
    nearest = np.full(shape, -1, np.int32)
    normal, p = np.zeros(3), np.zeros(3)
    for f in range(faces.shape[0]):
        a, b, c = grid[faces[f, 0]], grid[faces[f, 1]], grid[faces[f, 2]]
        _unit_normal(a, b, c, normal)
        low = np.zeros(3, np.int64)
        high = np.zeros(3, np.int64)
        for axis in range(3):
            low[axis] = max(box_low[axis], int(math.ceil(min(a[axis], b[axis], c[axis]) - band)))
            high[axis] = min(box_high[axis], int(math.floor(max(a[axis], b[axis], c[axis]) + band)))
        for i in range(low[0], high[0] + 1):
            for j in range(low[1], high[1] + 1):
                first, last = low[2], high[2]
                if abs(normal[2]) > 1e-3:  # only the column's part within the band of the plane
                    middle = a[2] - ((i - a[0]) * normal[0] + (j - a[1]) * normal[1]) / normal[2]
                    reach = band / abs(normal[2])
                    first = max(first, int(math.ceil(middle - reach)))
                    last = min(last, int(math.floor(middle + reach)))
                elif abs((i - a[0]) * normal[0] + (j - a[1]) * normal[1]) > band * 1.05 + 1e-3 * max(shape):
                    continue
                p[0], p[1] = i, j
                for k in range(first, last + 1):
                    p[2] = k
                    d = closest_point(p, a, b, c)[0]
                    if d < distance[i, j, k]:
                        distance[i, j, k] = d
                        nearest[i, j, k] = f
    return np.sqrt(distance), nearest


@njit(nogil=True, cache=True)
def _unit_normal(a, b, c, out):
    u0, u1, u2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    v0, v1, v2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    n0, n1, n2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
    length = math.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
    scale = 1.0 / length if length > 1e-14 else 0.0
    out[0], out[1], out[2] = n0 * scale, n1 * scale, n2 * scale


@njit(nogil=True, cache=True, inline="always")
def _segment(p, a, b):
    """Squared distance to a segment and the share of b at the nearest point."""
    d0, d1, d2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    e0, e1, e2 = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    length = d0 * d0 + d1 * d1 + d2 * d2
    t = 0.0
    if length > 0.0:
        t = min(1.0, max(0.0, (e0 * d0 + e1 * d1 + e2 * d2) / length))
    r0, r1, r2 = e0 - t * d0, e1 - t * d1, e2 - t * d2
    return r0 * r0 + r1 * r1 + r2 * r2, t


@njit(nogil=True, cache=True)
def closest_point(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[float, float, float]:
    """Squared distance of a point (3,) to a triangle and the weights of b and c at the nearest point."""
    u0, u1, u2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    v0, v1, v2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    e0, e1, e2 = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    uu = u0 * u0 + u1 * u1 + u2 * u2
    uv = u0 * v0 + u1 * v1 + u2 * v2
    vv = v0 * v0 + v1 * v1 + v2 * v2
    ue = u0 * e0 + u1 * e1 + u2 * e2
    ve = v0 * e0 + v1 * e1 + v2 * e2
    det = uu * vv - uv * uv
    if det > 1e-9 * uu * vv:
        s = (vv * ue - uv * ve) / det
        t = (uu * ve - uv * ue) / det
        if s >= 0.0 and t >= 0.0 and s + t <= 1.0:
            r0, r1, r2 = e0 - s * u0 - t * v0, e1 - s * u1 - t * v1, e2 - s * u2 - t * v2
            return r0 * r0 + r1 * r1 + r2 * r2, s, t
    best, share = _segment(p, a, b)
    s, t = share, 0.0
    d, share = _segment(p, a, c)
    if d < best:
        best, s, t = d, 0.0, share
    d, share = _segment(p, b, c)
    if d < best:
        best, s, t = d, 1.0 - share, share
    return best, s, t


@njit(nogil=True, cache=True)
def _span(a, b, c, size):
    low = max(0, int(math.ceil(min(a, b, c) - _GAP)))
    return low, min(size - 1, int(math.floor(max(a, b, c) + _GAP)))


@njit(nogil=True, cache=True)
def _crossed_edges(grid, faces, size):
    """(3, n, n, n) bool: the edge from a corner to the next one along an axis meets a triangle."""
    crossed = np.zeros((3, size, size, size), np.bool_)
    corner = np.zeros(3, np.int64)
    for f in range(faces.shape[0]):
        a, b, c = grid[faces[f, 0]], grid[faces[f, 1]], grid[faces[f, 2]]
        for axis in range(3):
            m, n = (axis + 1) % 3, (axis + 2) % 3
            area = (b[m] - a[m]) * (c[n] - a[n]) - (b[n] - a[n]) * (c[m] - a[m])
            if abs(area) < 1e-9:
                continue
            low_m, high_m = _span(a[m], b[m], c[m], size)
            low_n, high_n = _span(a[n], b[n], c[n], size)
            # A grid line that passes beside the triangle by less than the gap counts as crossing it.
            slack0 = -_GAP * math.hypot(c[m] - b[m], c[n] - b[n]) / abs(area)
            slack1 = -_GAP * math.hypot(a[m] - c[m], a[n] - c[n]) / abs(area)
            slack2 = -_GAP * math.hypot(b[m] - a[m], b[n] - a[n]) / abs(area)
            for i in range(low_m, high_m + 1):
                for j in range(low_n, high_n + 1):
                    w0 = ((b[m] - i) * (c[n] - j) - (b[n] - j) * (c[m] - i)) / area
                    w1 = ((c[m] - i) * (a[n] - j) - (c[n] - j) * (a[m] - i)) / area
                    w2 = 1.0 - w0 - w1
                    if w0 < slack0 or w1 < slack1 or w2 < slack2:
                        continue
                    height = w0 * a[axis] + w1 * b[axis] + w2 * c[axis]
                    height = min(max(height, min(a[axis], b[axis], c[axis])), max(a[axis], b[axis], c[axis]))
                    corner[m], corner[n] = i, j
                    for place in (height - 1e-3, height + 1e-3):
                        corner[axis] = min(size - 1, max(0, int(math.floor(place))))
                        crossed[axis, corner[0], corner[1], corner[2]] = True
    return crossed


@njit(nogil=True, cache=True)
def _enclosed(crossed):
    """Corners that a walk from corner 0 along uncrossed edges does not reach."""
    size = crossed.shape[1]
    enclosed = np.ones((size, size, size), np.bool_)
    stack = np.empty((size * size * size, 3), np.int16)
    stack[0] = 0
    enclosed[0, 0, 0] = False
    height = 1
    while height > 0:
        height -= 1
        x, y, z = stack[height]
        for axis in range(3):
            for step in (-1, 1):
                i = x + step if axis == 0 else x
                j = y + step if axis == 1 else y
                k = z + step if axis == 2 else z
                if min(i, j, k) < 0 or max(i, j, k) >= size or not enclosed[i, j, k]:
                    continue
                blocked = crossed[axis, x, y, z] if step > 0 else crossed[axis, i, j, k]
                if not blocked:
                    enclosed[i, j, k] = False
                    stack[height, 0], stack[height, 1], stack[height, 2] = i, j, k
                    height += 1
    return enclosed


@njit(nogil=True, cache=True)
def _points(points, face, vertices, faces, corner_colors):
    count = points.shape[0]
    nearest = points.astype(np.float32)
    colors = np.full((count, 3), 0.5, np.float32)
    normals = np.zeros((count, 3), np.float32)
    normal = np.zeros(3)
    for n in range(count):
        f = face[n]
        if f < 0:
            continue
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        _, s, t = closest_point(points[n], a, b, c)
        _unit_normal(a, b, c, normal)
        for axis in range(3):
            nearest[n, axis] = (1.0 - s - t) * a[axis] + s * b[axis] + t * c[axis]
            colors[n, axis] = (
                (1.0 - s - t) * corner_colors[f, 0, axis]
                + s * corner_colors[f, 1, axis]
                + t * corner_colors[f, 2, axis]
            ) / 255.0
            normals[n, axis] = normal[axis]
    return nearest, colors, normals
