"""A small CPU renderer of 3-D Gaussians for scores and sheets: front to back, alpha-composited on black.

Elliptical weighted average splatting (Zwicker et al., 2001) with the low-pass of the published rasteriser.
N Gaussians · S picture size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from backend.geometry.render import focal_length
from backend.geometry.views import View, raised_axes
from backend.representations.gaussians import SH_C0, Gaussians, covariance

LOW_PASS = 0.1  # pixels², added to the projected covariance
_CUT = 3.0  # standard deviations
_FAINTEST = 1.0 / 255.0  # less opacity than this is left out


@dataclass(frozen=True)
class SplatImage:
    """color (S, S, 3) f32 in [0, 1], premultiplied by cover (S, S) · depth (S, S) of what covers, along the
    view: its mean times cover.
    """

    color: np.ndarray
    cover: np.ndarray
    depth: np.ndarray


def render_gaussians(gaussians: Gaussians, view: View, size: int) -> np.ndarray:
    """(S, S, 3) f32 in [0, 1]: what the view's camera sees, the origin in the middle, as `render_whole` shows
    meshes.
    """
    return draw_gaussians(
        gaussians, raised_axes(view.elevation), view.distance, focal_length(view), size
    ).color


def draw_gaussians(
    gaussians: Gaussians,
    axes: np.ndarray,
    distance: float,
    focal: float,
    size: int,
    centre: tuple[float, float] = (0.5, 0.5),
) -> SplatImage:
    """What a camera with axes (3, 3), rows right, up and ahead, sees that far from the origin, which falls
    on the centre (column, row); that and the focal length are in widths of the picture.
    """
    camera = gaussians.position.double().numpy() @ axes.T
    depth = np.maximum(camera[:, 2] + distance, 1e-2)
    focal *= size
    place = np.stack([camera[:, 0], -camera[:, 1]], axis=1) / depth[:, None] * focal + np.array(centre) * size
    cov = _projected(covariance(gaussians).double().numpy(), axes, camera, depth, focal)
    color = np.clip(gaussians.color_dc.double().numpy() * SH_C0 + 0.5, 0, 1)
    order = np.argsort(depth)
    opacity = gaussians.opacity[:, 0].double().numpy()
    image, light = _composite(place[order], cov[order], color[order], opacity[order], depth[order], size)
    return SplatImage(image[..., :3], 1 - light, image[..., 3])


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
def _composite(centre, cov, color, opacity, depth, size):
    image = np.zeros((size, size, 4), np.float32)
    light = np.ones((size, size), np.float32)
    for n in range(centre.shape[0]):
        xx, xy, yy = cov[n]
        det = xx * yy - xy * xy
        if det <= 1e-12 or opacity[n] < _FAINTEST:
            continue
        farthest = 2.0 * math.log(opacity[n] / _FAINTEST) + 1e-9
        cut = min(_CUT, math.sqrt(farthest))
        reach_x, reach_y = cut * math.sqrt(xx), cut * math.sqrt(yy)
        u, v = centre[n]
        for row in range(max(0, int(v - reach_y)), min(size - 1, int(v + reach_y)) + 1):
            for column in range(max(0, int(u - reach_x)), min(size - 1, int(u + reach_x)) + 1):
                if light[row, column] < 1e-4:
                    continue
                dx, dy = column + 0.5 - u, row + 0.5 - v
                power = (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / det
                if power > farthest:
                    continue
                alpha = min(0.99, opacity[n] * math.exp(-0.5 * power))
                if alpha < _FAINTEST:
                    continue
                share = alpha * light[row, column]
                for channel in range(3):
                    image[row, column, channel] += share * color[n, channel]
                image[row, column, 3] += share * depth[n]
                light[row, column] -= share
    return image, light
