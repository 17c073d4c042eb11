"""One object out of its picture: by the picture's transparency or a background remover, centred, 518 × 518.

H, W: height and width of the picture.
"""

import logging
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from backend.errors import UserError
from backend.image.alpha import CLEAR, OPAQUE, cuts_out, shadow, window_on_shadow
from backend.image.decode import eight_bit
from backend.image.specks import without_specks

log = logging.getLogger(__name__)

# The square round a very long object takes memory in the square of its length: longer ones are scaled down.
MAX_CROP_SIDE = 4096
# The background remover sees at most this many pixels a side.
MAX_OPAQUE_SIDE = 1024

PICTURE_SIZE = 518
CROP_FACTOR = 1.2

# Pixels beside clear ones may be mixed with what they hide.
_MIXED_EDGE = 3
# What is half visible farther than this from the opaque pixels is no soft edge. Share of the longer side.
_SOFT_EDGE = 0.02
_LEAST_SEE_THROUGH = 0.01
_JOINED_WITHIN = 0.004

BackgroundRemover = Callable[[Image.Image], Image.Image]


def preprocess(image: Image.Image, remove_background: BackgroundRemover) -> Image.Image:
    """As `cut_out`, but RGB on black, as the published image models see it."""
    return on_black(cut_out(image, remove_background))


def cut_out(
    image: Image.Image, remove_background: BackgroundRemover, side: int = PICTURE_SIZE
) -> Image.Image:
    """Cut one object out of its picture: transparent or removed background, centred, RGBA, `side` a side.

    `remove_background` (RGB -> RGBA) is called where the picture's own transparency cuts nothing out.
    Raises UserError where nothing, or only a speck, is visible.
    """
    image = eight_bit(image, "picture")
    window = window_on_shadow(np.asarray(image)) if image.mode == "RGBA" else None
    if window is not None:
        image = Image.fromarray(np.asarray(image)[window])
    if image.mode == "RGBA" and window is None and cuts_out(np.asarray(image.getchannel("A"))):
        cutout = image
    else:
        cutout = remove_background(opaque(image))
    return centred(cutout, side)


def opaque(image: Image.Image) -> Image.Image:
    """RGB or RGBA -> RGB as background removers take it: without transparency, at most 1024 a side."""
    return _shrink(_without_alpha(image), MAX_OPAQUE_SIDE)


def centred(cutout: Image.Image, side: int = PICTURE_SIZE) -> Image.Image:
    """The object that an RGBA picture's alpha shows, in the middle of a square, `side` a side.

    Raises UserError where nothing, or only a speck, is visible.
    """
    cutout = _shrink(cutout, MAX_CROP_SIDE)
    cutout = cutout.crop(crop_box(_alpha_of_the_object(cutout)))
    # Pillow weighs RGBA by its alpha while it resizes, so that hidden colours do not bleed into the edge.
    return cutout.resize((side, side), Image.Resampling.LANCZOS)


def crop_box(alpha: np.ndarray) -> tuple[float, float, float, float]:
    """The square (left, top, right, bottom) in pixels round the object that `alpha` (H, W) uint8 shows.

    Its side is 1.2 times the longer side of the object; it may reach beyond the picture, and its bounds may
    be halves: Pillow's crop rounds them to the nearest even whole number, as the published weights expect.
    """
    rows, columns = np.nonzero(_object(alpha))
    if not len(rows):
        raise UserError(
            "The picture shows no object (every pixel is transparent or nearly so);"
            " give a picture with one opaque object."
        )
    left, top, right, bottom = (int(v) for v in (columns.min(), rows.min(), columns.max(), rows.max()))
    half = int(max(right - left, bottom - top) * CROP_FACTOR) // 2
    if half == 0:
        raise UserError(
            "The object in the picture is only one or two pixels large; give a picture in which it is larger."
        )
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half


def on_black(cutout: Image.Image) -> Image.Image:
    """RGBA -> RGB over black; truncates instead of rounding, as in training."""
    pixels = np.asarray(cutout).astype(np.float32) / 255
    return Image.fromarray((pixels[:, :, :3] * pixels[:, :, 3:] * 255).astype(np.uint8))


def _without_alpha(image: Image.Image) -> Image.Image:
    """RGB; clear pixels and the mixed ones beside them, whose own colour may be anything, get that of the
    nearest other one.
    """
    if image.mode != "RGBA":
        return image.convert("RGB")
    pixels = np.array(image)
    alpha = pixels[..., 3]
    clear = alpha <= CLEAR
    if clear.all():
        raise UserError(
            "The picture shows no object (every pixel is transparent or nearly so);"
            " give a picture with one opaque object."
        )
    if clear.any():
        beside = ndimage.binary_dilation(clear, np.ones((3, 3)), iterations=_MIXED_EDGE)
        unknown = clear | (beside & (alpha < alpha.max()))
        rows, columns = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
        pixels = pixels[rows, columns]
    log.info("the picture's transparency cuts nothing out; its background is removed instead")
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))


def _alpha_of_the_object(cutout: Image.Image) -> np.ndarray:
    """Alpha (H, W) without cast shadows; an object that is dark and see-through all over is none."""
    pixels = np.asarray(cutout)
    alpha = pixels[..., 3]
    return np.where(shadow(pixels), 0, alpha) if (alpha > OPAQUE).any() else alpha


def _object(alpha: np.ndarray) -> np.ndarray:
    """The pixels (H, W) that the crop must hold, without specks: the opaque ones, as the published models
    have it, or all that can be seen where a part of the object is see-through.
    """
    reach = max(1, round(_JOINED_WITHIN * max(alpha.shape)))
    visible = without_specks(alpha > CLEAR, reach=reach)
    opaque = visible & (alpha > OPAQUE)
    if not opaque.any():
        return visible
    opaque = without_specks(opaque, reach=reach)
    edge = max(2, round(_SOFT_EDGE * max(alpha.shape)))
    see_through = visible & (ndimage.distance_transform_edt(~opaque) > edge)
    return visible if see_through.sum() >= _LEAST_SEE_THROUGH * visible.sum() else opaque


def _shrink(image: Image.Image, longest: int) -> Image.Image:
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, int(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
