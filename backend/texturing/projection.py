"""A picture's own pixels on the surface that it shows.

P texels · S size of the square picture · D size of the depth buffer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from PIL import Image
from scipy import ndimage

from backend.errors import UserError
from backend.image.alpha import CLEAR, shadow
from backend.texturing.camera import Camera
from backend.texturing.texels import Texels

_DEPTH_SIZE = 1024
_OPAQUE = 0.95
_SEE_THROUGH = 0.25  # the colour of what is fainter is told by a few levels of its product with alpha
# What is not opaque is an outline up to this far from what is, and a see-through part where it is wider than
# twice this. In shares of the picture's width, as all distances.
_SOFT_EDGE = 0.01
# Cosines between the view and the surface, from which on a picture tells something and everything: 87° and
# 80°, where a feature of the picture is drawn out sixfold.
_GRAZING = (0.05, 0.17)
# Distances to a silhouette: closer than two pixels of the depth buffer it mixes what lies on both sides.
_EDGE = (0.0007, 0.002)
_STEP = 0.03  # a jump in depth that is a silhouette
_BIAS = 0.004


@dataclass(frozen=True)
class PictureView:
    """pixels (S, S, 4) u8 sRGB and alpha, colours not multiplied by it.

    camera: None is to be found. aligned: whether the mesh stands as the picture shows it, seen from −Y.
    """

    pixels: np.ndarray
    camera: Camera | None = None
    aligned: bool = True

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 4 or self.pixels.shape[0] != self.pixels.shape[1]:
            raise UserError("A picture to project must be square and have transparency; cut its object out.")


def picture_views(cutouts: Sequence[Image.Image], aligned: bool) -> list[PictureView]:
    """Cut-out pictures of one object; `aligned`: the mesh stands as the first of them shows it."""
    return [
        PictureView(np.asarray(cutout.convert("RGBA")), aligned=aligned and number == 0)
        for number, cutout in enumerate(cutouts)
    ]


def projected(
    picture: PictureView,
    camera: Camera,
    texels: Texels,
    vertices: np.ndarray,
    faces: np.ndarray,
    slack: float = _BIAS,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (P, 3) f32 in [0, 1] of the picture at the texels, and how far each is to be trusted (P,).

    That is 0 where something hides the texel, where it turns away and outside the object's silhouette, and
    small where the surface is seen at a grazing angle or near a silhouette. The picture's soft outline has
    the colour of the nearest pixel that shows the object alone; what is see-through in the picture keeps its
    own. What lies up to `slack` behind the surface counts as seen.
    """
    _, inverse = camera.depths(vertices, faces, _DEPTH_SIZE)
    shown, inside = _without_soft_outline(picture.pixels)
    depth = 1 / np.maximum(inverse, 1e-6)
    edge = _edge_distance(depth, inverse > 0, inside)
    pixels = _density_matched(shown, camera, texels)
    colors, trust = np.zeros((len(texels.place), 3), np.float32), np.zeros(len(texels.place), np.float32)
    spread = camera.distance / (camera.focal * _DEPTH_SIZE)  # of a pixel of the depth buffer
    eye = camera.frame, camera.lens(1)
    _look_up(texels.position, texels.normal, *eye, depth, edge, pixels, slack, spread, colors, trust)
    return colors, trust


def see_through_beside(
    picture: PictureView, camera: Camera, vertices: np.ndarray, faces: np.ndarray
) -> float:
    """Which part of the object in the picture is see-through, more than its soft outline is, and beside the
    mesh.
    """
    alpha = picture.pixels[..., 3]
    visible = (alpha > CLEAR) & ~shadow(picture.pixels)
    partly = visible & (alpha <= _OPAQUE * 255)
    reach = max(1.0, _SOFT_EDGE * len(alpha))
    wide = ndimage.distance_transform_edt(partly) > reach
    if not wide.any():
        return 0.0
    partly &= ndimage.distance_transform_edt(~wide) <= reach
    covered = camera.depths(vertices, faces, len(alpha))[1] > 0
    return float((partly & ~covered).sum() / visible.sum())


def _without_soft_outline(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture (S, S, 4) u8 -> its colours (S, S, 3) u8 without those of its soft outline, which may be
    mixed with a background, and where it shows the object (S, S).
    """
    alpha = pixels[..., 3]
    visible = (alpha > CLEAR) & ~shadow(pixels)
    opaque = visible & (alpha > _OPAQUE * 255)
    reach = max(1.0, _SOFT_EDGE * len(pixels))
    partly = visible & ~opaque & (alpha > _SEE_THROUGH * 255)
    wide = ndimage.distance_transform_edt(partly) > reach
    if wide.any():
        opaque |= partly & (ndimage.distance_transform_edt(~wide) <= reach)
    if not opaque.any():
        return pixels[..., :3], visible
    distance, (rows, columns) = ndimage.distance_transform_edt(~opaque, return_indices=True)
    return pixels[rows, columns, :3], visible & (distance <= 2 * reach)


def _edge_distance(depth: np.ndarray, covered: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Distance (D, D) f32 in widths of the picture to the silhouettes of the mesh and of the picture, which
    shows the object where `shown` (S, S) says.
    """
    size = len(depth)
    place = (np.arange(size) + 0.5) / size * len(shown)
    rows = np.minimum(place.astype(int), len(shown) - 1)
    inside = covered & shown[np.ix_(rows, rows)]
    far = np.where(covered, depth, np.inf)
    for axis in (0, 1):
        ahead = np.moveaxis(far, axis, 0)
        with np.errstate(invalid="ignore"):
            jump = np.abs(ahead[1:] - ahead[:-1]) > _STEP
        kept = np.moveaxis(inside, axis, 0)  # a view: what is cleared here is cleared in `inside`
        kept[1:] &= ~jump
        kept[:-1] &= ~jump
    return (ndimage.distance_transform_edt(inside) / size).astype(np.float32)


def _density_matched(colors: np.ndarray, camera: Camera, texels: Texels) -> np.ndarray:
    """The colours (S, S, 3) u8 as f32 in [0, 1], made smaller where texels are larger than pixels."""
    steps = np.diff(texels.position, axis=0)
    neighbours = np.diff(texels.place) == 1
    if neighbours.any():
        texel = float(np.median(np.linalg.norm(steps[neighbours], axis=1))) * camera.focal / camera.distance
        side = max(1, round(1 / max(texel, 1 / len(colors))))
        if side < len(colors):
            small = Image.fromarray(np.ascontiguousarray(colors))
            colors = np.asarray(small.resize((side, side), Image.Resampling.HAMMING))
    return colors.astype(np.float32) / 255


@njit(nogil=True, cache=True)
def _look_up(points, normals, frame, lens, depth, edge, pixels, slack, spread, colors, trust):
    """Writes what a picture (S, S, 3) shows of each point that it sees, and how far that is to be trusted.

    frame, lens: of the camera, in widths of the picture · depth of the mesh and distance to an edge (D, D).
    """
    size = len(depth)
    for p in range(len(points)):
        x, y, z = points[p, 0] - frame[3, 0], points[p, 1] - frame[3, 1], points[p, 2] - frame[3, 2]
        towards = -(normals[p, 0] * x + normals[p, 1] * y + normals[p, 2] * z)
        cosine = towards / max(math.sqrt(x * x + y * y + z * z), 1e-9)
        if cosine <= _GRAZING[0]:
            continue
        ahead = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
        right = frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z
        up = frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z
        column, row = lens[1] + right / ahead * lens[0], lens[2] - up / ahead * lens[0]
        if not (0.0 < column < 1.0 and 0.0 < row < 1.0):
            continue
        slope = math.sqrt(1.0 - min(cosine, 1.0) ** 2) / cosine
        if ahead >= depth[int(row * size), int(column * size)] + slack + slope * spread:
            continue
        near = _ramp(_between(edge, row, column), _EDGE[0], _EDGE[1])
        trust[p] = near * _ramp(cosine, _GRAZING[0], _GRAZING[1])
        for k in range(3):
            colors[p, k] = _between(pixels[:, :, k], row, column)


@njit(nogil=True, cache=True)
def _between(image, row, column):
    """The value of an image (S, S) between its pixels, at a place in widths of it."""
    last = len(image) - 1
    i, j = min(max(row * (last + 1) - 0.5, 0.0), last), min(max(column * (last + 1) - 0.5, 0.0), last)
    top, left = int(i), int(j)
    below, beside, v, h = min(top + 1, last), min(left + 1, last), i - top, j - left
    upper = image[top, left] * (1 - h) + image[top, beside] * h
    return upper * (1 - v) + (image[below, left] * (1 - h) + image[below, beside] * h) * v


@njit(nogil=True, cache=True)
def _ramp(value, low, high):
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)
