"""How far something that was made agrees with its own picture, from the picture's side: outline and colours.

A picture tells neither size nor place, so both sides are cropped to what they show, as pictures are for the
model. S picture size.
"""

import math
from dataclasses import replace

import numpy as np

from backend.geometry.mesh_files import Asset
from backend.geometry.render import CROP_MARGIN, Picture, project, rasterise, render
from backend.geometry.splat_render import render_gaussians
from backend.geometry.views import Light, View, fixed_view, normalised, turned
from backend.representations.gaussians import SH_C0, Gaussians

SIZE = 128
MASK = 32  # of the coarse silhouettes that are searched in
_UNLIT = Light((0.0, -1.0, 0.0), 1.0, 0.0)
_WIDE = 4  # times the size at which Gaussians are drawn, before they are cropped
USUAL = fixed_view(0.0, math.radians(17.5), math.radians(37.5))
"""From where the bundled encoder takes a picture to be, of which nothing is known."""


def mesh_picture(mesh: Asset, view: View = USUAL, size: int = SIZE) -> Picture:
    """An aligned mesh without light, cropped as pictures are; nothing where it has no faces."""
    if len(mesh.faces) == 0:
        return Picture(np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32))
    used = np.unique(mesh.faces, return_inverse=True)
    compact = replace(mesh, vertices=mesh.vertices[used[0]], faces=used[1].reshape(-1, 3).astype(np.int32))
    return render(compact, replace(view, light=_UNLIT), size)


def gaussian_picture(gaussians: Gaussians, view: View = USUAL, size: int = SIZE) -> Picture:
    """Aligned Gaussians, cropped as pictures are."""
    white = replace(gaussians, color_dc=(gaussians.color_dc * 0 + 0.5 / SH_C0))
    color, alpha = (render_gaussians(some, view, _WIDE * size) for some in (gaussians, white))
    return cropped(Picture(color, alpha[..., 0]), size)


def cropped(picture: Picture, size: int = SIZE) -> Picture:
    """What is more than half there, in the middle, with the usual margin; by the nearest pixels."""
    rows, columns = (np.flatnonzero((picture.alpha > 0.5).any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return Picture(np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    offsets = ((np.arange(size) + 0.5) / size - 0.5) * extent * CROP_MARGIN
    places = [np.floor((one[0] + one[-1] + 1) / 2 + offsets).astype(int) for one in (rows, columns)]
    within = [(place >= 0) & (place < len(picture.alpha)) for place in places]
    y, x = (np.clip(place, 0, len(picture.alpha) - 1) for place in places)
    inside = (within[0][:, None] & within[1][None, :]).astype(np.float32)
    return Picture(picture.color[y][:, x] * inside[..., None], picture.alpha[y][:, x] * inside)


def outline_iou(made: Picture, given: Picture) -> float:
    """Pixels of both outlines over pixels of either; 0 where both are empty."""
    a, b = made.alpha > 0.5, given.alpha > 0.5
    either = int((a | b).sum())
    return float((a & b).sum()) / either if either else 0.0


def color_error(made: Picture, given: Picture) -> float | None:
    """Mean distance of the colours, channel by channel in [0, 1], where both show something, if anywhere."""
    both = (made.alpha > 0.5) & (given.alpha > 0.5)
    a, b = (one.color[both] / one.alpha[both, None] for one in (made, given))
    return float(np.abs(a - b).mean()) if both.any() else None


def shape_masks(
    vertices: np.ndarray, faces: np.ndarray, azimuths: tuple[float, ...], elevations: tuple[float, ...]
) -> np.ndarray:
    """(azimuths, elevations, 32, 32) bool of a shape: vertices (V, 3) of any size and place, faces (F, 3)."""
    masks = np.zeros((len(azimuths), len(elevations), MASK, MASK), bool)
    for i, azimuth in enumerate(azimuths):
        placed = normalised(turned(vertices.astype(np.float64), azimuth))
        for j, elevation in enumerate(elevations):
            view = fixed_view(0.0, elevation, math.radians(40))
            points = project(placed, view)
            low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
            extent = max(float((high - low).max()), 1e-9) * CROP_MARGIN
            points[:, :2] = ((points[:, :2] - (low + high) / 2) / extent + 0.5) * 2 * MASK
            drawn = rasterise(points, faces, 2 * MASK)[0] >= 0
            masks[i, j] = drawn.reshape(MASK, 2, MASK, 2).sum(axis=(1, 3)) >= 2
    return masks
