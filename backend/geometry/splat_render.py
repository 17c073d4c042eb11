"""A small CPU renderer of 3-D Gaussians for scores and sheets: front to back, alpha-composited on black.

Elliptical weighted average splatting (Zwicker et al., 2001) with the low-pass of the published rasteriser.
N Gaussians · S picture size.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from backend.geometry.render import focal_length
from backend.geometry.views import View
from backend.representations.gaussians import SH_C0, Gaussians, covariance

LOW_PASS = 0.1  # pixels², added to the projected covariance
_CUT = 3.0  # standard deviations


def render_gaussians(gaussians: Gaussians, view: View, size: int) -> np.ndarray:
    """(S, S, 3) f32 in [0, 1]: what the view's camera sees, the origin in the middle, as `render_whole` shows
    meshes.
    """
    points = gaussians.position.double().numpy()
    rotation, depth = _camera(points, view)
    focal = size * focal_length(view)
    camera = points @ rotation.T
    centre = np.stack([camera[:, 0], -camera[:, 1]], axis=1) / depth[:, None] * focal + size / 2
    cov = _projected(covariance(gaussians).double().numpy(), rotation, camera, depth, focal)
    color = np.clip(gaussians.color_dc.double().numpy() * SH_C0 + 0.5, 0, 1)
    order = np.argsort(depth)
    opacity = gaussians.opacity[:, 0].double().numpy()
    return _composite(centre[order], cov[order], color[order], opacity[order], size)


def _camera(points: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Rows right, up, ahead (3, 3) and the depth (N,) of every point."""
    c, s = math.cos(view.elevation), math.sin(view.elevation)
    rotation = np.array([[1.0, 0.0, 0.0], [0.0, s, c], [0.0, c, -s]])
    return rotation, np.maximum(points @ rotation[2] + view.distance, 1e-2)


def _projected(
    cov: np.ndarray, rotation: np.ndarray, camera: np.ndarray, depth: np.ndarray, focal: float
) -> np.ndarray:
    """Covariances (N, 6) in space -> (N, 3) xx, xy, yy in pixels²."""
    full = cov[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    jacobian = np.zeros((len(camera), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 1, 1] = focal / depth, -focal / depth
    jacobian[:, 0, 2] = -focal * camera[:, 0] / depth**2
    jacobian[:, 1, 2] = focal * camera[:, 1] / depth**2
    transform = jacobian @ rotation
    flat = transform @ full @ transform.transpose(0, 2, 1)
    return np.stack([flat[:, 0, 0] + LOW_PASS, flat[:, 0, 1], flat[:, 1, 1] + LOW_PASS], axis=1)


@njit(nogil=True, cache=True)
def _composite(centre, cov, color, opacity, size):
    image = np.zeros((size, size, 3), np.float32)
    light = np.ones((size, size), np.float32)
    for n in range(centre.shape[0]):
        xx, xy, yy = cov[n]
        det = xx * yy - xy * xy
        if det <= 1e-12:
            continue
        reach_x, reach_y = _CUT * math.sqrt(xx), _CUT * math.sqrt(yy)
        u, v = centre[n]
        for row in range(max(0, int(v - reach_y)), min(size - 1, int(v + reach_y)) + 1):
            for column in range(max(0, int(u - reach_x)), min(size - 1, int(u + reach_x)) + 1):
                dx, dy = column + 0.5 - u, row + 0.5 - v
                power = (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / det
                alpha = min(0.99, opacity[n] * math.exp(-0.5 * power))
                if alpha < 1.0 / 255.0 or light[row, column] < 1e-4:
                    continue
                share = alpha * light[row, column]
                for channel in range(3):
                    image[row, column, channel] += share * color[n, channel]
                light[row, column] -= share
    return image
