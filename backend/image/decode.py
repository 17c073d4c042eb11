"""The bytes of any picture file -> an upright picture in sRGB, 8 bits a channel, RGB or RGBA.

Every fault of the file leaves as a UserError; nothing is decoded before its size is known.
"""

import io
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, features

from backend.errors import UserError
from backend.image.alpha import CLEAR
from backend.image.color_profile import to_srgb

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", *(["AVIF"] if features.check("avif") else []))
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 64 * 1000 * 1000
MIN_SIDE = 16
MAX_FRAMES = 64
"""How many frames of an animation are looked at for one that shows something."""
_NOISE = 8  # levels by which lossy formats may vary one colour

# What Pillow's decoders raise on broken files, collected from its plug-ins; anything else is a bug of ours.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,  # of AVIF's; NotImplementedError is one
    struct.error,
    zlib.error,
)


def open_picture(source: Path | bytes, name: str | None = None) -> Image.Image:
    """Decode one picture, upright, as 8-bit RGB or (where it has transparency) RGBA.

    CMYK, grey, palette and 16-bit pictures are converted, colour profiles to sRGB; of an animation the first
    frame that shows anything is taken.
    `name` is what messages call the picture. Raises UserError for all that cannot become such a picture.
    """
    name = name or (source.name if isinstance(source, Path) else "picture")
    data = source if isinstance(source, bytes) else read_picture_file(source, name)
    if not data:
        raise UserError(f"The picture '{name}' is an empty file; save it again and retry.")
    if len(data) > MAX_FILE_BYTES:
        raise UserError(_too_many_bytes(name))
    return _upright(_decode(data, name), name)


def read_picture_file(path: Path, name: str | None = None) -> bytes:
    """The bytes of a file of reasonable size; UserError for all else, before anything is read."""
    name = name or path.name
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            kind = "a folder; name a file in it" if stat.S_ISDIR(info.st_mode) else "a device; name a file"
            raise UserError(f"'{path}' is not a picture file but {kind}.")
        if info.st_size > MAX_FILE_BYTES:
            raise UserError(_too_many_bytes(name))
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no picture at '{path}'; check the path.") from error
    except PermissionError as error:
        raise UserError(f"The picture '{path}' may not be read; give yourself the permission.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"The picture '{path}' cannot be read ({error}); check path and disk.") from error


def _decode(data: bytes, name: str) -> Image.Image:
    """The first frame that shows anything, loaded, in whatever mode it is stored."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(_too_large(name)) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"'{name}' is not a picture that can be read; give a PNG, JPEG, WebP, BMP, GIF or TIFF file."
        ) from error
    except _DECODE_ERRORS as error:
        raise UserError(f"The picture '{name}' is damaged; export it again, for example as PNG.") from error
    _check_size(image, name)
    try:
        sixteen_bits = _sixteen_bit_key(image, data)
        _widen_grey_key(image)
        image.load()
        _seek_first_visible(image)
    except (Image.DecompressionBombError, MemoryError) as error:
        raise UserError(_too_large(name)) from error
    except _DECODE_ERRORS as error:
        raise UserError(
            f"The picture '{name}' is incomplete or damaged; export it again, for example as PNG."
        ) from error
    _check_size(image, name)
    if sixteen_bits is not None:
        clear = image.info.pop("transparency")
        image.putalpha(
            Image.fromarray(np.where((sixteen_bits == clear).all(axis=2), 0, 255).astype(np.uint8))
        )
    return image


def _seek_first_visible(image: Image.Image) -> None:
    """Leave an animation at its first frame that is not empty, or at the first one where all are."""
    count = min(getattr(image, "n_frames", 1), MAX_FRAMES)
    for frame in range(count if count > 1 else 0):
        image.seek(frame)
        image.load()
        if not _is_empty(image):
            return
    if count > 1:
        image.seek(0)
        image.load()


def _is_empty(image: Image.Image) -> bool:
    """Whether a frame is as good as clear all over, or of one colour without an outline in its alpha."""
    pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
    spread, most_opaque = np.ptp(pixels, axis=0), pixels[:, 3].max()
    return bool(most_opaque <= CLEAR or (spread[3] == 0 and spread.max() <= _NOISE))


def _sixteen_bit_key(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Channels (H, W, 3) uint16 of a 16-bit RGB PNG in which one colour is transparent, else None.

    Pillow keeps the high bytes only, in which the key may be that of other colours too. The file is decoded
    once for the high bytes and once for the low ones, by naming the other byte order.
    """
    tiles = getattr(image, "tile", [])
    if image.format != "PNG" or not tiles or tiles[0][3] != "RGB;16B" or "transparency" not in image.info:
        return None
    high, low = (Image.open(io.BytesIO(data), formats=("PNG",)) for _ in range(2))
    assert isinstance(low, ImageFile.ImageFile)
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
    return np.asarray(high.convert("RGB")).astype(np.uint16) << 8 | np.asarray(low.convert("RGB"))


def _widen_grey_key(image: Image.Image) -> None:
    """Bring the transparent grey of a PNG of 2 or 4 bits to 8, as Pillow does with the pixels alone."""
    tiles, clear = getattr(image, "tile", []), image.info.get("transparency")
    bits = {"L;2": 2, "L;4": 4}.get(tiles[0][3]) if image.format == "PNG" and tiles else None
    if bits and isinstance(clear, int):
        most = (1 << bits) - 1
        image.info["transparency"] = (clear & most) * (255 // most)


def _too_many_bytes(name: str) -> str:
    return f"The picture '{name}' is larger than {MAX_FILE_BYTES >> 20} MiB; save a smaller one."


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(_too_large(name, f" ({width}×{height})"))
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"The picture '{name}' is only {width}×{height} pixels;"
            f" give one of at least {MIN_SIDE}×{MIN_SIDE}, better 512×512."
        )


def _too_large(name: str, size: str = "") -> str:
    return (
        f"The picture '{name}' has more than {MAX_PIXELS // 1_000_000} million pixels{size};"
        " scale it down to at most 8000×8000."
    )


def _upright(image: Image.Image, name: str) -> Image.Image:
    converted = eight_bit(to_srgb(_grey_to_eight_bit(image, name)), name)
    try:
        orientation = image.getexif().get(0x0112, 1)
    except _DECODE_ERRORS:
        # Broken metadata beside good pixels: the picture is shown as stored, as every viewer does.
        return converted
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return converted.transpose(turns[orientation]) if orientation in turns else converted


def eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Any mode -> RGB, or RGBA where the mode or a transparent colour says so."""
    if image.mode in ("RGB", "RGBA") and "transparency" not in image.info:
        return image
    image = _grey_to_eight_bit(image, name)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        # La and RGBa convert only through their unweighted twins.
        image = image.convert("LA") if image.mode == "La" else image
        return image.convert("RGBA")
    return image.convert("RGB")


def _grey_to_eight_bit(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey -> L, or LA with a transparent value; other modes stay.

    The high byte is kept: Pillow's own conversion of some of these modes clips at 255.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535 or image.mode == "F":
        raise UserError(f"The picture '{name}' has 32 bits a channel; save it with 8 or 16 bits.")
    grey = Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    for key in ("icc_profile", "exif"):
        if key in image.info:
            grey.info[key] = image.info[key]
    return grey
