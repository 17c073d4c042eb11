"""How the background of a picture goes, as the person chose it."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from backend.background.plain import key_out_plain_background
from backend.background.remove import remove_background
from backend.background.removers import find_remover, remove_with
from backend.errors import MissingModel, UserError
from backend.image.crop import PICTURE_SIZE, centred, cut_out, on_black, opaque
from backend.image.decode import open_picture
from blender_trellis.protocol import Background, CutOut

_BLACK = 0.03 * 255
"""What is darker in all channels is no object in a picture that is taken as it is."""


def cut_out_as(background: Background, image: Image.Image, side: int = PICTURE_SIZE) -> Image.Image:
    """The object of an upright RGB or RGBA picture: RGBA, `side` a side.

    Raises UserError where the picture does not suit the choice, or shows nothing.
    """
    return _WAYS[background](image, side)


def seen_by_model(request: CutOut) -> np.ndarray:
    """What a model will see of a picture: (518, 518, 3) uint8, sRGB on black. Raises UserError."""
    if not request.pictures:
        raise UserError("There is no picture to cut out; give one.")
    picture = open_picture(bytes(request.pictures[0].data), request.picture_name)
    return np.asarray(on_black(cut_out_as(request.background, picture)))


def _automatic(image: Image.Image, side: int) -> Image.Image:
    return cut_out(image, remove_background, side)


def _by_alpha(image: Image.Image, side: int) -> Image.Image:
    if image.mode != "RGBA" or image.getchannel("A").getextrema()[0] == 255:
        raise UserError("The picture has no transparency to keep; choose another way for its background.")
    return centred(image, side)


def _by_remover(image: Image.Image, side: int) -> Image.Image:
    model_file = find_remover()
    if model_file is None:
        raise MissingModel(
            "There is no background remover on this machine; choose another way for the background, or"
            " download U²-Net with the models ('python -m backend models download u2net')."
        )
    return centred(remove_with(opaque(image), model_file), side)


def _by_plain_color(image: Image.Image, side: int) -> Image.Image:
    cutout = key_out_plain_background(opaque(image))
    if cutout is None:
        raise UserError("The picture's background is not one even color; choose another way for it.")
    return centred(cutout, side)


def _as_it_is(image: Image.Image, side: int) -> Image.Image:
    """All of the picture in the middle of a square; where it has no alpha, what is not black shows."""
    if image.mode != "RGBA":
        shown = np.asarray(image.convert("RGB")).max(axis=2) > _BLACK
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(shown.astype(np.uint8) * 255))
    if not np.asarray(image.getchannel("A")).any():
        raise UserError("The picture is black or clear all over; give one that shows an object.")
    longest = max(image.size)
    square = Image.new("RGBA", (longest, longest))
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    return square.resize((side, side), Image.Resampling.LANCZOS)


_WAYS: dict[Background, Callable[[Image.Image, int], Image.Image]] = {
    "auto": _automatic,
    "alpha": _by_alpha,
    "remover": _by_remover,
    "plain": _by_plain_color,
    "keep": _as_it_is,
}
