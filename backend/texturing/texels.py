"""Between a texture and the surface it covers: which point each texel shows, what lies between the charts.

P texels that show something · S texture size · W vertices with texture coordinates · F faces.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

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
    vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, uv: np.ndarray, size: int
) -> Texels:
    """The texels whose centres lie in a triangle of uv (W, 2); vertices and normals (W, 3)."""
    points = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.ones(len(uv))], axis=1)
    ids, _ = rasterise(points, faces, size)
    place = np.flatnonzero(ids.reshape(-1) >= 0)
    face = ids.reshape(-1)[place]
    weights = _weights(points[:, :2], faces[face], place, size)
    position = _interpolated(vertices, faces[face], weights)
    normal = _interpolated(normals, faces[face], weights)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return Texels(size, place, face, position, weights, normal)


def shared_part(texels: Texels, faces: np.ndarray, uv: np.ndarray) -> float:
    """Which part of the faces' area in uv (W, 2) lies on that of other faces, in [0, 1]."""
    a, b, c = (uv[faces[:, corner]].astype(np.float64) for corner in range(3))
    first, second = b - a, c - a
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2 * texels.size**2
    return max(0.0, 1 - len(texels.place) / area) if area > 0 else 0.0


def corner_values(values: np.ndarray, faces: np.ndarray, texels: Texels) -> np.ndarray:
    """Values (W, C) at the corners of faces (F, 3) -> at the texels (P, C) f32."""
    return _interpolated(values, faces[texels.face], texels.weights)


def image_of(colors: np.ndarray, texels: Texels) -> np.ndarray:
    """Colours (P, 3) in [0, 1] -> the whole image (S, S, 3) u8.

    Next to a chart lie copies of its edge, so that no seam shows when texels are blended; farther away are
    means of what is near, so that smaller copies of the image blend no foreign colour in.
    """
    size = texels.size
    known = np.zeros((size * size, 4), np.float32)
    known[texels.place, :3], known[texels.place, 3] = colors, 1
    planes = torch.from_numpy(known).view(size, size, 4).permute(2, 0, 1)[None]
    for _ in range(2):
        planes = _grown(planes)
    filled = _pulled(planes)[0].permute(1, 2, 0)
    return (filled.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _grown(planes: torch.Tensor) -> torch.Tensor:
    """Colours and whether they are known (1, 4, S, S): unknown ones beside known ones become their mean."""
    near = F.avg_pool2d(planes, 3, stride=1, padding=1)
    weight = near[:, 3:]
    fresh = torch.where(weight > 1e-6, near / weight.clamp(min=1e-6), 0)
    return torch.where(planes[:, 3:] > 0, planes, fresh)


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


def _weights(points: np.ndarray, corners: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """Barycentric weights (P, 3) of texel centres in triangles with corners (P, 3) among points (W, 2)."""
    a, b, c = (points[corners[:, i]] for i in range(3))
    x, y = place % size + 0.5, place // size + 0.5
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    first = ((b[:, 0] - x) * (c[:, 1] - y) - (b[:, 1] - y) * (c[:, 0] - x)) / area
    second = ((c[:, 0] - x) * (a[:, 1] - y) - (c[:, 1] - y) * (a[:, 0] - x)) / area
    return np.stack([first, second, 1 - first - second], axis=1).astype(np.float32)


def _interpolated(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    return sum(values[corners[:, i]] * weights[:, i, None] for i in range(3))
