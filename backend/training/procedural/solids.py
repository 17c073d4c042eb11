"""Simple solids as rings of points that are joined to a surface: turned, swept, extruded and rounded bodies.

N rings · K points a ring, counter-clockwise seen from where the rings go · V vertices · F faces.
"""

import numpy as np

_LEAST_AREA = 1e-9


def lofted(rings: np.ndarray, closed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rings (N, K, 3) from the bottom up -> vertices (N·K, 3) f64 and outward faces (F, 3) i32.

    Two equal rings in a row are a sharp edge: they are not joined, so they share no normals. `closed` joins
    the last ring to the first. A ring shrunk to a point closes an end.
    """
    count, around = rings.shape[:2]
    vertices = rings.reshape(-1, 3).astype(np.float64)
    ring, point = np.meshgrid(np.arange(count if closed else count - 1), np.arange(around), indexing="ij")
    above, beside = (ring + 1) % count, (point + 1) % around
    a, b = ring * around + point, ring * around + beside
    c, d = above * around + beside, above * around + point
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    corners = vertices[faces]
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return vertices, faces[doubled > 2 * _LEAST_AREA].astype(np.int32)


def revolved(profile: np.ndarray, around: int) -> np.ndarray:
    """Profile (N, 2) of radius and height, turned about the vertical: rings (N, around, 3)."""
    angles = np.arange(around) / around * 2 * np.pi
    x, y = profile[:, :1] * np.cos(angles), profile[:, :1] * np.sin(angles)
    return np.stack([x, y, np.broadcast_to(profile[:, 1:], x.shape)], axis=-1)


def extruded(outline: np.ndarray, height: float, taper: float = 1.0) -> np.ndarray:
    """Outline (K, 2), star-shaped about its origin and counter-clockwise, with sharp edges: rings (6, K, 3).

    The upper side is `taper` times as wide as the lower one.
    """
    sizes = (0.0, 1.0, 1.0, taper, taper, 0.0)
    return np.stack(
        [
            np.concatenate([outline * size, np.full((len(outline), 1), side * height / 2)], axis=1)
            for size, side in zip(sizes, (-1, -1, -1, 1, 1, 1), strict=True)
        ]
    )


def swept(path: np.ndarray, radii: np.ndarray, around: int) -> np.ndarray:
    """Discs of radii (N,) along a path (N, 3), both ends closed: rings (N + 2, around, 3)."""
    ahead = np.gradient(path, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    side = np.cross(ahead[0], np.eye(3)[np.argmin(np.abs(ahead[0]))])
    angles = np.arange(around)[:, None] / around * 2 * np.pi
    rings = []
    for place, direction, radius in zip(path, ahead, radii, strict=True):
        side = side - direction * (side @ direction)  # carried along, so that the tube does not twist
        side /= np.linalg.norm(side)
        other = np.cross(direction, side)
        rings.append(place + radius * (np.cos(angles) * side + np.sin(angles) * other))
    ends = [np.broadcast_to(place, rings[0].shape) for place in (path[0], path[-1])]
    return np.stack([ends[0], *rings, ends[1]])


def superellipsoid(upright: float, across: float, rows: int, around: int) -> np.ndarray:
    """Rings (rows, around, 3) within [−1, 1]³: exponents of 1 make a ball, small ones a box or a can.

    `upright` rounds the profile, `across` the horizontal section (Barr, 1981).
    """
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    longitude = np.arange(around)[None] / around * 2 * np.pi
    radius, height = _power(np.cos(latitude), upright), _power(np.sin(latitude), upright)
    x, y = radius * _power(np.cos(longitude), across), radius * _power(np.sin(longitude), across)
    return np.stack([x, y, np.broadcast_to(height, x.shape)], axis=-1)


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** exponent
