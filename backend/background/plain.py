"""Cuts an object out of a picture whose background is one nearly uniform colour (a studio shot, a render).

The background's colour is modelled as a smooth surface fitted to the picture's border, so that vignettes and
light falling off are followed. What lies near that surface *and* is reached from the border is background:
areas of the same colour inside the object stay.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from backend.image.specks import without_specks

# Distances are in CIE L*a*b*, where 2 is just visible.
_MIN_TOLERANCE, _MAX_TOLERANCE = 4.0, 12.0
# A border pixel farther than this from the fitted colour belongs to something else.
_OUTLIER = 10.0
# The object may touch the border (a bust does), but most of the border has to be background ...
_MIN_BORDER_SHARE = 0.75
# ... without texture, and not change its colour more than a lit wall does.
_MAX_ROUGHNESS = 4.0
_MAX_DRIFT = 35.0
# JPEG ringing is a few pixels large whatever the object's size.
_LEAST_PIXELS = 24
_BLEEDING_PIXELS = 4
_BLEEDING_SHARE = 0.4


@dataclass(frozen=True)
class _Background:
    color: np.ndarray  # (height, width, 3) L*a*b* of the fitted surface
    tolerance: float


def key_out_plain_background(image: Image.Image) -> Image.Image | None:
    """RGB -> RGBA with the background transparent, or None where the background is not plain.

    The edge is one to two pixels soft, and its colours are those of the object beside it, so that no rim of
    the background's colour remains.
    """
    rgb = np.asarray(image.convert("RGB"))
    lab = ndimage.gaussian_filter(_lab(rgb), (0.7, 0.7, 0))
    background = _fit_background(lab)
    if background is None:
        return None
    distance = np.linalg.norm(lab - background.color, axis=2)
    plain = distance < background.tolerance
    # JPEG ringing closes narrow gaps; through them the flood passes at a wider tolerance.
    reached = plain & _reached_from_border(distance < 1.5 * background.tolerance)
    mask = without_specks(~(reached | _bleeding(distance, reached)), _LEAST_PIXELS)
    return Image.fromarray(_soft_cutout(rgb, mask))


def _lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB uint8 (H, W, 3) -> CIE L*a*b* for the D65 white (H, W, 3) float32."""
    encoded = np.arange(256) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    to_xyz /= to_xyz.sum(axis=1, keepdims=True)
    xyz = linear.astype(np.float32)[rgb] @ to_xyz.T.astype(np.float32)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    ).astype(np.float32)


def _fit_background(lab: np.ndarray) -> _Background | None:
    """A quadratic surface through the border's colours, robust against an object that touches the border."""
    height, width, _ = lab.shape
    terms = _quadratic_terms(height, width)
    rim = max(2, round(0.012 * min(height, width)))
    border = np.ones((height, width), bool)
    border[rim:-rim, rim:-rim] = False
    samples, colors = terms[border], lab[border]
    inlier = np.linalg.norm(colors - np.median(colors, axis=0), axis=1) < _MAX_DRIFT
    for _ in range(6):
        if inlier.mean() < _MIN_BORDER_SHARE:
            return None
        weights = np.linalg.lstsq(samples[inlier], colors[inlier], rcond=None)[0]
        residual = np.linalg.norm(colors - samples @ weights, axis=1)
        # The limit tightens towards the spread of the bulk, so that soft shadows do not bend the surface.
        inlier = residual < min(_OUTLIER, max(3.0, 4 * np.median(residual)))
    roughness = float(np.sqrt(np.mean(residual[inlier] ** 2)))
    surface = (terms @ weights).astype(np.float32)
    drift = np.linalg.norm(surface[border].max(axis=0) - surface[border].min(axis=0))
    share = (residual < _OUTLIER).mean()
    if share < _MIN_BORDER_SHARE or roughness > _MAX_ROUGHNESS or drift > _MAX_DRIFT:
        return None
    return _Background(surface, float(np.clip(2.5 + 3 * roughness, _MIN_TOLERANCE, _MAX_TOLERANCE)))


def _quadratic_terms(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _reached_from_border(plain: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(plain)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, np.unique(rim[rim > 0]))


def _bleeding(distance: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """The rim where colour bleeds out of the object: mixed edge pixels and JPEG's coarse colour.

    These lie beside the background and are much nearer to its colour than the object close by is.
    """
    reach = ndimage.distance_transform_edt(~reached) <= _BLEEDING_PIXELS
    beside = ndimage.maximum_filter(distance, 2 * _BLEEDING_PIXELS + 1)
    faint = reach & ~reached & (distance < _BLEEDING_SHARE * beside)
    labels, _ = ndimage.label(reached | faint)
    return faint & np.isin(labels, np.unique(labels[reached]))


def _soft_cutout(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """RGBA uint8 (H, W, 4): opaque inside, the edge ramped over two pixels and coloured from inside."""
    coverage = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)
    alpha = np.clip((coverage - 0.45) / 0.45, 0, 1)
    inside = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    away, (rows, columns) = ndimage.distance_transform_edt(~inside, return_indices=True)
    # Threads thinner than the erosion have no inside near by and keep their own colour.
    rim = (alpha > 0) & ~inside & (away <= 4) if inside.any() else np.zeros_like(mask)
    colors = rgb.copy()
    colors[rim] = rgb[rows[rim], columns[rim]]
    return np.dstack([colors, np.round(alpha * 255).astype(np.uint8)])
