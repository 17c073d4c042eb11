"""The colours of a picture in sRGB, whatever profile it was saved with: Display P3, Adobe RGB, CMYK …"""

import io
import logging

import numpy as np
from PIL import Image, ImageCms

log = logging.getLogger(__name__)

_SPACES = {"RGB ": ("RGB",), "CMYK": ("CMYK",), "GRAY": ("L",), "Lab ": ("LAB",)}
"""Modes that the pixels of a profile's colour space may have."""
_ROUNDING = 3  # levels, by which versions of sRGB's own profile differ
_INTEROPERABILITY_FOLDER, _INTEROPERABILITY_INDEX = 0xA005, 1
_ADOBE_GAMMA = 563 / 256
_ADOBE_TO_XYZ = np.array(
    [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]], np.float32
)
_XYZ_TO_SRGB = np.array(
    [[3.24045, -1.53714, -0.49853], [-0.96927, 1.87601, 0.04156], [0.05564, -0.20403, 1.05723]], np.float32
)


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture as RGB or RGBA in sRGB where it says in which colours it is stored, else as it is.

    A profile that is broken or of another kind of picture is left out with a word in the log: the picture is
    then shown as it is stored, as viewers do.
    """
    data = image.info.get("icc_profile")
    if data:
        return _converted(image, data)
    if image.mode == "LAB":
        return _transformed(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if image.mode in ("RGB", "RGBA") and _is_adobe_rgb(image):
        return _from_adobe_rgb(image)
    return image


def _converted(image: Image.Image, data: bytes) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space
        plain = _plain(image)
        if plain.mode.removesuffix("A") not in _SPACES.get(space, ()):
            raise ImageCms.PyCMSError(f"a profile of {space.strip()} in a picture of {plain.mode}")
        return image if space == "RGB " and _is_srgb(profile) else _transformed(plain, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        log.warning("the picture's colour profile is not used: %s", error)
        return image


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether a profile, whatever it is called, changes no colour by more than rounding does."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    seen = np.asarray(_transformed(Image.fromarray(probe), profile))
    return bool(np.abs(seen.astype(int) - probe).max() <= _ROUNDING)


def _plain(image: Image.Image) -> Image.Image:
    """RGB(A), L(A), CMYK or LAB: palettes and rarer modes through the one that they stand for."""
    if image.mode in ("RGB", "RGBA", "L", "LA", "CMYK", "LAB"):
        return image
    return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Through the profile to sRGB; alpha and transparent colours stay."""
    if "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    colors = image.convert(image.mode.removesuffix("A")) if alpha is not None else image
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    result = ImageCms.profileToProfile(
        colors, profile, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
    )
    assert result is not None
    if alpha is not None:
        result.putalpha(alpha)
    return result


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Cameras mark Adobe RGB by the interoperability index "R03" alone (DCF 2.0), without a profile."""
    try:
        index = image.getexif().get_ifd(_INTEROPERABILITY_FOLDER).get(_INTEROPERABILITY_INDEX)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError):
        return False  # broken metadata beside good pixels
    return str(index or "").strip("\0 ") == "R03"


def _from_adobe_rgb(image: Image.Image) -> Image.Image:
    """Adobe RGB (1998) -> linear -> CIE XYZ for D65 -> sRGB; colours outside of sRGB are clipped."""
    pixels = np.array(image)
    linear = (np.arange(256, dtype=np.float32) / 255) ** _ADOBE_GAMMA
    matrix = (_XYZ_TO_SRGB @ _ADOBE_TO_XYZ).T
    for row in pixels:  # a row at a time: the whole picture as floats would take sixteen times its memory
        light = (linear[row[:, :3]] @ matrix).clip(0, 1)
        encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        row[:, :3] = np.round(encoded * 255)
    return Image.fromarray(pixels, image.mode)
