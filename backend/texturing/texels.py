"""Between a texture and the surface it covers: which point each texel shows, what lies between the charts.

P texels that show something · S texture size · W vertices with texture coordinates · F faces.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit

from backend.geometry.render import rasterise


@dataclass(frozen=True)
class Texels:
    """place (P,) i64 in the S² texels, row by row from the top · face (P,) · position, normal (P, 3) f32."""

    size: int
    place: np.ndarray
    face: np.ndarray
    position: np.ndarray
    weights: np.ndarray  # (P, 3) f32 of the face's corners
    normal: np.ndarray


def texels_of(
    vertices: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    size: int,
    normals: np.ndarray,
    corners: np.ndarray,
    each: bool = False,
) -> Texels:
    """The texels whose centres lie in a triangle of uv (W, 2); vertices (W, 3), faces and the numbers of
    their corners' normals (F, 3). `each`: a face without any gets the one round its middle if that is free,
    unless all lack any.
    """
    points = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.ones(len(uv))], axis=1)
    ids, _ = rasterise(points, faces, size)
    shown = ids.reshape(-1)
    each = each and bool((shown >= 0).any())
    lost = np.setdiff1d(np.arange(len(faces)), shown) if each else np.zeros(0, np.int64)
    middles, first = np.unique(_middle_texels(faces[lost], uv, size), return_index=True)
    free = shown[middles] < 0
    shown[middles[free]] = lost[first[free]]
    place = np.flatnonzero(shown >= 0)
    face = shown[place]
    weights = _weights(points, faces, face, place, size)
    weights[np.isin(place, middles[free])] = 1 / 3
    position = _interpolated(vertices.astype(np.float32), faces, face, weights)
    normal = _interpolated(normals.astype(np.float32), corners, face, weights)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return Texels(size, place, face, position, weights, normal)


def box_of(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The lower corner (3,) and the longest side of the box round points (P, 3), of which there are many."""
    columns = [np.ascontiguousarray(column) for column in points.T]  # an axis of three is reduced slowly
    low, high = (np.array([extreme(column) for column in columns]) for extreme in (np.min, np.max))
    return low, max(float((high - low).max()), 1e-6)


def without_texel(texels: Texels, faces: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces (L,) that no texel shows, and which of the P texels is seen on each of them."""
    lost = np.setdiff1d(np.arange(len(faces)), texels.face)
    at = np.searchsorted(texels.place, _middle_texels(faces[lost], uv, texels.size))
    return lost, np.minimum(at, len(texels.place) - 1)


def _middle_texels(faces: np.ndarray, uv: np.ndarray, size: int) -> np.ndarray:
    """The texels (F,) that the middles of faces (F, 3) in uv (W, 2) lie in."""
    column, row = (uv[faces].mean(axis=1) * (1, -1) + (0, 1)).clip(0, 1).T
    down, right = (np.minimum((one * size).astype(np.int64), size - 1) for one in (row, column))
    return down * size + right


def shared_part(texels: Texels, faces: np.ndarray, uv: np.ndarray) -> float:
    """Which part of the faces' area in uv (W, 2) lies on that of other faces, in [0, 1]."""
    a, b, c = (uv[faces[:, corner]].astype(np.float64) for corner in range(3))
    first, second = b - a, c - a
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2 * texels.size**2
    return max(0.0, 1 - len(texels.place) / area) if area > 0 else 0.0


def corner_values(values: np.ndarray, faces: np.ndarray, texels: Texels) -> np.ndarray:
    """Values (W, C) at the corners of faces (F, 3) -> at the texels (P, C) f32."""
    return _interpolated(values.astype(np.float32), faces, texels.face, texels.weights)


def image_of(colors: np.ndarray, texels: Texels) -> np.ndarray:
    """Colours (P, 3) in [0, 1] -> the whole image (S, S, 3) u8.

    Next to a chart lie copies of its edge, so that no seam shows when texels are blended; farther away are
    means of what is near, so that smaller copies of the image blend no foreign colour in.
    """
    size = texels.size
    known = np.zeros((size * size, 4), np.float32)
    known[texels.place, :3], known[texels.place, 3] = colors, 1
    known = _grown(_grown(known.reshape(size, size, 4)))
    planes = torch.from_numpy(known).permute(2, 0, 1)[None]
    filled = _pulled(planes)[0].permute(1, 2, 0)
    return (filled.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@njit(nogil=True, cache=True)
def _grown(known):
    """Colours and whether they are known (S, S, 4) f32: unknown ones beside known ones become their mean."""
    size = known.shape[0]
    grown = known.copy()
    total = np.zeros(4, np.float32)
    for row in range(size):
        for column in range(size):
            if known[row, column, 3] > 0:
                continue
            total[:] = 0
            for i in range(max(row - 1, 0), min(row + 2, size)):
                for j in range(max(column - 1, 0), min(column + 2, size)):
                    for k in range(4):
                        total[k] += known[i, j, k]
            total /= np.float32(9)
            if total[3] > 0:
                grown[row, column] = total / total[3]
    return grown


def _pulled(planes: torch.Tensor) -> torch.Tensor:
    """Colours (1, 3, S, S) everywhere: means over ever larger squares where no smaller one holds any."""
    levels = [planes]
    while levels[-1].shape[-1] % 2 == 0:
        levels.append(F.avg_pool2d(levels[-1], 2))
    result = levels[-1][:, :3] / levels[-1][:, 3:].clamp(min=1e-9)
    for level in reversed(levels[:-1]):
        result = F.interpolate(result, scale_factor=2, mode="bilinear")
        weight = level[:, 3:]
        result = torch.where(weight > 0, level[:, :3] / weight.clamp(min=1e-9), result)
    return result


@njit(nogil=True, cache=True, error_model="numpy")
def _weights(points, faces, face, place, size):
    """Barycentric weights (P, 3) f32 of texel centres in their faces (P,), with corners in points (W, 2+)."""
    weights = np.empty((len(place), 3), np.float32)
    for p in range(len(place)):
        a, b, c = points[faces[face[p], 0]], points[faces[face[p], 1]], points[faces[face[p], 2]]
        x, y = place[p] % size + 0.5, place[p] // size + 0.5
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        first = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
        second = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
        weights[p, 0], weights[p, 1], weights[p, 2] = first, second, 1 - first - second
    return weights


@njit(nogil=True, cache=True)
def _interpolated(values, faces, face, weights):
    """Values (W, C) f32 at the corners of faces (F, 3) -> (P, C) f32 at places in their faces (P,)."""
    found = np.empty((len(face), values.shape[1]), np.float32)
    for p in range(len(face)):
        a, b, c = faces[face[p], 0], faces[face[p], 1], faces[face[p], 2]
        for k in range(values.shape[1]):
            found[p, k] = (
                values[a, k] * weights[p, 0] + values[b, k] * weights[p, 1] + values[c, k] * weights[p, 2]
            )
    return found
