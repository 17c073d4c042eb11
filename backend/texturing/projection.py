"""A picture's own pixels on the surface that it shows.

P texels · S size of the square picture · D size of the depth buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from backend.errors import UserError
from backend.texturing.camera import Camera
from backend.texturing.texels import Texels

_DEPTH_SIZE = 1024
_OPAQUE = 0.95
# Cosines between the view and the surface, from which on a picture tells something and everything.
_GRAZING = (0.05, 0.25)
# Distances to a silhouette, in shares of the picture: outlines of picture and mesh agree no better.
_EDGE = (0.0007, 0.005)
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
    small where the surface is seen at a grazing angle or near a silhouette. What lies up to `slack` behind
    the surface counts as seen.
    """
    seen = camera.project(texels.position)
    towards = camera.position - texels.position
    cosine = np.einsum("ij,ij->i", texels.normal, towards) / np.maximum(np.linalg.norm(towards, axis=1), 1e-9)
    chosen = np.flatnonzero((cosine > _GRAZING[0]) & (np.abs(seen[:, :2] - 0.5) < 0.5).all(axis=1))
    seen, cosine = seen[chosen], cosine[chosen]
    _, inverse = camera.depths(vertices, faces, _DEPTH_SIZE)
    depth = 1 / np.maximum(inverse, 1e-6)
    pixels = _density_matched(picture.pixels, camera, texels)
    edge = _edge_distance(depth, inverse > 0, pixels[..., 3])
    slope = np.sqrt(1 - np.minimum(cosine, 1) ** 2) / cosine
    bias = slack + slope / (camera.focal * _DEPTH_SIZE) * camera.distance
    row, column = (np.minimum((seen[:, i] * _DEPTH_SIZE).astype(int), _DEPTH_SIZE - 1) for i in (1, 0))
    visible = 1 / seen[:, 2] < depth[row, column] + bias
    trust = visible * _ramp(cosine, _GRAZING) * _ramp(_sampled(edge[..., None], seen)[:, 0], _EDGE)
    colors, weight = np.zeros((len(texels.place), 3), np.float32), np.zeros(len(texels.place), np.float32)
    colors[chosen] = _sampled(pixels, seen)[:, :3]
    weight[chosen] = trust
    return colors, weight


def _edge_distance(depth: np.ndarray, covered: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Distance (D, D) f32 in widths of the picture to the silhouettes of the mesh and of the picture."""
    size = len(depth)
    place = (np.arange(size) + 0.5) / size * len(alpha)
    rows = np.minimum(place.astype(int), len(alpha) - 1)
    inside = covered & (alpha[np.ix_(rows, rows)] > _OPAQUE)
    far = np.where(covered, depth, np.inf)
    for axis in (0, 1):
        ahead = np.moveaxis(far, axis, 0)
        with np.errstate(invalid="ignore"):
            jump = np.abs(ahead[1:] - ahead[:-1]) > _STEP
        kept = np.moveaxis(inside, axis, 0)  # a view: what is cleared here is cleared in `inside`
        kept[1:] &= ~jump
        kept[:-1] &= ~jump
    return (ndimage.distance_transform_edt(inside) / size).astype(np.float32)


def _density_matched(pixels: np.ndarray, camera: Camera, texels: Texels) -> np.ndarray:
    """The picture (S, S, 4) f32 in [0, 1], made smaller where texels are larger than its pixels."""
    result = pixels.astype(np.float32) / 255
    steps = np.diff(texels.position, axis=0)
    neighbours = np.diff(texels.place) == 1
    if not neighbours.any():
        return result
    texel = float(np.median(np.linalg.norm(steps[neighbours], axis=1)))
    factor = int(texel * camera.focal / camera.distance * len(pixels) + 0.5)
    side = len(pixels) // factor * factor if factor > 1 else 0
    if side == 0 or side < len(pixels):
        return result
    blocks = result.reshape(side // factor, factor, side // factor, factor, 4)
    alpha = blocks[..., 3:]
    color = (blocks[..., :3] * alpha).sum(axis=(1, 3)) / np.maximum(alpha.sum(axis=(1, 3)), 1e-6)
    return np.concatenate([color, alpha.mean(axis=(1, 3))], axis=-1)


def _sampled(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (P, C) of an image (S, S, C) between its pixels, at places (P, 2+) in widths."""
    coordinates = places[:, 1::-1].T * len(image) - 0.5
    return np.stack(
        [
            ndimage.map_coordinates(image[..., channel], coordinates, order=1, mode="nearest")
            for channel in range(image.shape[2])
        ],
        axis=1,
    )


def _ramp(values: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """0 below the span, 1 above it, smooth between."""
    t = np.clip((values - span[0]) / (span[1] - span[0]), 0, 1)
    return t * t * (3 - 2 * t)
