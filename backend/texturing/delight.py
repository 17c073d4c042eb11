"""Light out of a picture: what its brightness owes to where the surface faces; the rest is paint.

The light that falls on a surface is a smooth function of its normal, which spherical harmonics of the second
order tell to a few percent (Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment
maps", 2001). Only pixels of one hue are compared with each other, since another hue is other paint.
V vertices · F faces · S picture size · Z size of the fit · N pixels.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from backend.texturing.camera import Camera

_SIZE = 256
_SMOOTH = 4.0  # pixels of the fit over which normals are averaged: mesh and picture agree no better
_FEWEST = 100  # pixels that tell a light
_OPAQUE = 0.95
_HUES = 36  # steps of a colour's share of red and of green
_DARKEST = 0.02
_ROUNDS = 6
_STIFFNESS = 0.02
# Logarithms of brightness: what is farther off than noise counts less, and farther off than light is paint.
_NOISE, _PAINT = 0.15, 0.5
_MOST = 1.2
_LIT = 0.95  # this share of the surface gets less light than what counts as light enough


def without_shading(
    pixels: np.ndarray, camera: Camera, vertices: np.ndarray, faces: np.ndarray
) -> np.ndarray:
    """A picture (S, S, 4) u8 of the mesh (V, 3), (F, 3) as if it were lit from all sides as its lightest
    side is; hues and alpha stay. Where mesh and picture hardly meet, the picture as it is.
    """
    normals, covered = _normals(camera, vertices, faces)
    small = np.asarray(Image.fromarray(pixels).resize((_SIZE, _SIZE), Image.Resampling.BOX)) / 255
    used = covered & (small[..., 3] > _OPAQUE)
    if used.sum() < _FEWEST:
        return pixels
    basis = _harmonics(normals)
    light = basis @ _light(small[used][:, :3], basis[used])
    light = np.clip(light - np.quantile(light[used], _LIT), -_MOST, _MOST)
    light = light[
        tuple(ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True))
    ]
    factor = Image.fromarray(np.exp(-light).astype(np.float32))
    large = np.asarray(factor.resize(pixels.shape[:2], Image.Resampling.BILINEAR))
    evened = pixels[..., :3] * large[..., None]
    return np.concatenate([np.rint(evened.clip(0, 255)).astype(np.uint8), pixels[..., 3:]], axis=-1)


def _normals(camera: Camera, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (Z, Z, 3) of what the camera sees, turned towards it, and where it sees any (Z, Z)."""
    ids, _ = camera.depths(vertices, faces, _SIZE)
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    away = np.einsum("ij,ij->i", normals, camera.position - a) < 0
    normals[away] *= -1
    covered = ids >= 0
    seen = np.where(covered[..., None], normals[ids], 0)
    seen = ndimage.gaussian_filter(seen, (_SMOOTH, _SMOOTH, 0), mode="constant")
    return seen / np.maximum(np.linalg.norm(seen, axis=-1, keepdims=True), 1e-9), covered


def _harmonics(normals: np.ndarray) -> np.ndarray:
    """Unit normals (..., 3) -> (..., 8): harmonics of the first and the second order, not scaled."""
    x, y, z = np.moveaxis(normals, -1, 0)
    return np.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], axis=-1)


def _light(colors: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What each harmonic (N, 8) adds to the logarithm of the brightness of colours (N, 3) in [0, 1]: (8,)."""
    brightness = np.log(np.maximum(colors @ [0.3, 0.59, 0.11], _DARKEST))
    shares = colors[:, :2] / np.maximum(colors.sum(axis=1, keepdims=True), 3 * _DARKEST)
    _, hue = np.unique((shares * _HUES).astype(int) @ [_HUES + 1, 1], return_inverse=True)
    values = np.concatenate([basis, brightness[:, None]], axis=1)
    weight = np.ones(len(colors))
    found: np.ndarray = np.zeros(basis.shape[1])
    for number in range(_ROUNDS):
        total = np.maximum(np.bincount(hue, weight), 1e-9)
        means = np.stack([np.bincount(hue, weight * column) / total for column in values.T], axis=1)
        rest = values - means[hue]
        across, along = rest[:, :-1], rest[:, -1]
        weighted = (across * weight[:, None]).T
        found = np.linalg.solve(
            weighted @ across + _STIFFNESS * len(colors) * np.eye(len(found)), weighted @ along
        )
        error = along - across @ found
        if number < 2:  # a first guess needs all of them
            weight = 1 / np.maximum(np.abs(error) / _NOISE, 1)
        else:
            weight = np.maximum(1 - (error / _PAINT) ** 2, 0.03) ** 2
    return found
