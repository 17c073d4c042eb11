"""A signature of a shape that survives re-export: another size, place, orientation, order or split vertices.

It is made of integrals over the surface and of the farthest point, all in units of the root-mean-square
radius, so that it depends neither on the triangulation nor on the frame. V vertices · F faces.
"""

from __future__ import annotations

import numpy as np

STEP = 1e-3
_TOLERANCE = 2  # steps; float32 files differ by less


def signature(vertices: np.ndarray, faces: np.ndarray) -> tuple[int, ...]:
    """Seven whole numbers for a mesh (V, 3), (F, 3); all 0 for one without area."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    normal = np.cross(b - a, c - a) / 2
    area = np.linalg.norm(normal, axis=1)
    total = area.sum()
    if total <= 0:
        return (0,) * 7
    middle = (a + b + c) / 3
    centre = (area[:, None] * middle).sum(axis=0) / total
    a, b, c, middle = a - centre, b - centre, c - centre, middle - centre
    # Exact: the integral of x xᵀ over a triangle is area / 12 · (a aᵀ + b bᵀ + c cᵀ + 9 m mᵀ).
    parts = [(a, 1.0), (b, 1.0), (c, 1.0), (middle, 9.0)]
    moments = np.sum([w * np.einsum("f,fi,fj->ij", area, p, p) for p, w in parts], axis=0) / 12 / total
    radius = np.sqrt(max(float(np.trace(moments)), 1e-30))
    axes = np.sqrt(np.clip(np.linalg.eigvalsh(moments), 0, None))
    volume = abs(float(np.einsum("fi,fi->", middle, normal))) / 3
    slant = np.linalg.norm((normal[:, :, None] * middle[:, None, :]).sum(axis=0)) / total
    farthest = np.sqrt(max(float(np.square(corner).sum(axis=1)[area > 0].max()) for corner in (a, b, c)))
    numbers = [
        *(axes / radius),
        np.sqrt(total) / radius,
        np.cbrt(volume) / radius,
        slant / radius,
        farthest / radius,
    ]
    return tuple(int(round(float(number) / STEP)) for number in numbers)


def is_same_shape(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two signatures can be of one shape."""
    return all(abs(x - y) <= _TOLERANCE for x, y in zip(a, b, strict=True))
