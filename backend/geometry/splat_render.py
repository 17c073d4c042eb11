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
_NEAREST = 0.1  # of the camera's distance: what is nearer, or behind the camera, is left out
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
    splats = Splats.of(gaussians)
    return draw_splats(splats, raised_axes(view.elevation), view.distance, focal_length(view), size).color


@dataclass(frozen=True)
class Splats:
    """What drawing needs of N Gaussians from whatever side, f64: places (N, 3), covariances (N, 6) as their
    upper triangles, colours (N, 3) in [0, 1], opacities (N,).
    """

    position: np.ndarray
    covariance: np.ndarray
    color: np.ndarray
    opacity: np.ndarray

    @classmethod
    def of(cls, gaussians: Gaussians) -> Splats:
        """Of Gaussians on the processor."""
        color = np.clip(gaussians.color_dc.double().numpy() * SH_C0 + 0.5, 0, 1)
        spread = covariance(gaussians).double().numpy()
        return cls(
            gaussians.position.double().numpy(), spread, color, gaussians.opacity[:, 0].double().numpy()
        )


def draw_splats(
    splats: Splats,
    axes: np.ndarray,
    distance: float,
    focal: float,
    size: int,
    centre: tuple[float, float] = (0.5, 0.5),
) -> SplatImage:
    """What a camera with axes (3, 3), rows right, up and ahead, sees that far from the origin, which falls
    on the centre (column, row); that and the focal length are in widths of the picture.
    """
    camera = splats.position @ axes.T
    depth = np.maximum(camera[:, 2] + distance, 1e-2)
    focal *= size
    place = np.stack([camera[:, 0], -camera[:, 1]], axis=1) / depth[:, None] * focal + np.array(centre) * size
    cov = _projected(splats.covariance, axes, camera, depth, focal)
    order = np.argsort(depth)
    order = order[depth[order] > _NEAREST * distance]
    image, light = _composite(place, cov, splats.color, splats.opacity, depth, order, size)
    return SplatImage(image[..., :3], 1 - light, image[..., 3])


@njit(nogil=True, cache=True)
def _projected(cov, axes, camera, depth, focal):
    """Covariances (N, 6) in space -> (N, 3) xx, xy, yy in pixels²."""
    flat = np.empty((len(cov), 3))
    across, up = np.empty(3), np.empty(3)
    for n in range(len(cov)):
        scale = focal / depth[n]
        right, top = camera[n, 0] / depth[n], camera[n, 1] / depth[n]
        for k in range(3):
            across[k] = scale * (axes[0, k] - right * axes[2, k])
            up[k] = -scale * (axes[1, k] - top * axes[2, k])
        xx, xy, xz, yy, yz, zz = cov[n]
        a0 = xx * across[0] + xy * across[1] + xz * across[2]
        a1 = xy * across[0] + yy * across[1] + yz * across[2]
        a2 = xz * across[0] + yz * across[1] + zz * across[2]
        b0 = xx * up[0] + xy * up[1] + xz * up[2]
        b1 = xy * up[0] + yy * up[1] + yz * up[2]
        b2 = xz * up[0] + yz * up[1] + zz * up[2]
        flat[n, 0] = across[0] * a0 + across[1] * a1 + across[2] * a2 + LOW_PASS
        flat[n, 1] = up[0] * a0 + up[1] * a1 + up[2] * a2
        flat[n, 2] = up[0] * b0 + up[1] * b1 + up[2] * b2 + LOW_PASS
    return flat


@njit(nogil=True, cache=True)
def _composite(centre, cov, color, opacity, depth, order, size):
    image = np.zeros((size, size, 4), np.float32)
    light = np.ones((size, size), np.float32)
    for n in order:
        xx, xy, yy = cov[n]
        det = xx * yy - xy * xy
        if det <= 1e-12 or opacity[n] < _FAINTEST:
            continue
        farthest = 2.0 * math.log(opacity[n] / _FAINTEST) + 1e-9
        cut = min(_CUT, math.sqrt(farthest))
        reach_x, reach_y = cut * math.sqrt(xx), cut * math.sqrt(yy)
        u, v = centre[n]
        left, right = max(0, int(u - reach_x)), min(size - 1, int(u + reach_x))
        red, green, blue, deep = color[n, 0], color[n, 1], color[n, 2], depth[n]
        fall = math.exp(-yy / det)
        for row in range(max(0, int(v - reach_y)), min(size - 1, int(v + reach_y)) + 1):
            dy = row + 0.5 - v
            # Where the ellipse of what is not too faint meets the row.
            middle = u - 0.5 + xy * dy / yy
            half = math.sqrt(max(det * (farthest * yy - dy * dy), 0.0)) / yy + 1e-6
            first = max(left, int(middle - half))
            dx = first + 0.5 - u
            # From pixel to pixel a bell curve changes by a factor, and that by one that stays the same.
            strength = opacity[n] * math.exp(-0.5 * (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / det)
            step = math.exp(-0.5 * (yy * (2.0 * dx + 1.0) - 2.0 * xy * dy) / det)
            for column in range(first, min(right, int(middle + half)) + 1):
                alpha = min(0.99, strength)
                strength *= step
                step *= fall
                if alpha < _FAINTEST or light[row, column] < 1e-4:
                    continue
                share = alpha * light[row, column]
                image[row, column, 0] += share * red
                image[row, column, 1] += share * green
                image[row, column, 2] += share * blue
                image[row, column, 3] += share * deep
                light[row, column] -= share
    return image, light
