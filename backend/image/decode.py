"""From a picture file to the 518×518 picture of one object that the image encoders see.

In: the bytes or the path of a picture that anybody may have made. Out: a PIL picture, RGBA or RGB on black.
Every fault of the file leaves as a UserError; nothing is decoded before its size is known.
"""

import io
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from backend.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_PIXELS = 64 * 1000 * 1000
MIN_SIDE = 16
# The square round a very long object takes memory in the square of its length: longer ones are scaled down.
MAX_CROP_SIDE = 4096
# The background remover sees at most this many pixels a side.
MAX_OPAQUE_SIDE = 1024

PICTURE_SIZE = 518
ALPHA_THRESHOLD = 0.8 * 255
CROP_FACTOR = 1.2

BackgroundRemover = Callable[[Image.Image], Image.Image]

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
    NotImplementedError,
    struct.error,
    zlib.error,
)


def open_picture(source: Path | bytes, name: str | None = None) -> Image.Image:
    """Decode one picture, upright, as 8-bit RGB or (where it has transparency) RGBA.

    CMYK, grey, palette and 16-bit pictures are converted; of an animation the first frame is taken.
    `name` is what messages call the picture. Raises UserError for all that cannot become such a picture.
    """
    name = name or (source.name if isinstance(source, Path) else "picture")
    data = source if isinstance(source, bytes) else _read_file(source, name)
    if not data:
        raise UserError(f"The picture '{name}' is an empty file; save it again and retry.")
    return _upright(_decode(data, name), name)


def preprocess(image: Image.Image, remove_background: BackgroundRemover) -> Image.Image:
    """As `cut_out`, but RGB on black, as the published image models see it."""
    return on_black(cut_out(image, remove_background))


def cut_out(image: Image.Image, remove_background: BackgroundRemover) -> Image.Image:
    """Cut one object out of its picture: transparent or removed background, centred, 518×518 RGBA.

    `remove_background` (RGB -> RGBA) is called only where the picture has no transparency of its own.
    Raises UserError where nothing, or only a speck, is opaque.
    """
    image = _eight_bit(image, "picture")
    if image.mode == "RGBA" and np.asarray(image.getchannel("A")).min() < 255:
        cutout = _shrink(image, MAX_CROP_SIDE)
    else:
        cutout = remove_background(_shrink(image.convert("RGB"), MAX_OPAQUE_SIDE))
    cutout = cutout.crop(crop_box(np.asarray(cutout.getchannel("A"))))
    # Pillow weighs RGBA by its alpha while it resizes, so that hidden colours do not bleed into the edge.
    return cutout.resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.LANCZOS)


def crop_box(alpha: np.ndarray) -> tuple[float, float, float, float]:
    """The square (left, top, right, bottom) in pixels round the opaque part of `alpha` (height, width) uint8.

    Its side is 1.2 times the longer side of the object; it may reach beyond the picture, and its bounds may
    be halves: Pillow's crop rounds them to the nearest even whole number, as the published weights expect.
    """
    rows, columns = np.nonzero(alpha > ALPHA_THRESHOLD)
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


def _shrink(image: Image.Image, longest: int) -> Image.Image:
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, int(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _read_file(path: Path, name: str) -> bytes:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            kind = "a folder; name a file in it" if stat.S_ISDIR(info.st_mode) else "a device; name a file"
            raise UserError(f"'{path}' is not a picture file but {kind}.")
        if info.st_size > MAX_FILE_BYTES:
            raise UserError(
                f"The picture '{name}' is larger than {MAX_FILE_BYTES >> 20} MiB; save a smaller one."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no picture at '{path}'; check the path.") from error
    except PermissionError as error:
        raise UserError(f"The picture '{path}' may not be read; give yourself the permission.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"The picture '{path}' cannot be read ({error}); check path and disk.") from error


def _decode(data: bytes, name: str) -> Image.Image:
    """The first frame, loaded, in whatever mode it is stored."""
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
        image.load()
    except (Image.DecompressionBombError, MemoryError) as error:
        raise UserError(_too_large(name)) from error
    except _DECODE_ERRORS as error:
        raise UserError(
            f"The picture '{name}' is incomplete or damaged; export it again, for example as PNG."
        ) from error
    _check_size(image, name)
    return image


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
    converted = _eight_bit(image, name)
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


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Any mode -> RGB, or RGBA where the mode or a transparent colour says so."""
    if image.mode in ("RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _from_high_depth(image, name)
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        # La and RGBa convert only through their unweighted twins.
        image = image.convert("LA") if image.mode == "La" else image
        return image.convert("RGBA")
    return image.convert("RGB")


def _from_high_depth(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey: keep the high byte (Pillow's own conversion of some of these modes clips at 255)."""
    values = np.asarray(image)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535 or image.mode == "F":
        raise UserError(f"The picture '{name}' has 32 bits a channel; save it with 8 or 16 bits.")
    grey = (values.astype(np.uint32) >> 8).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        alpha = np.where(values == clear, 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([grey, grey, grey, alpha]))
    return Image.fromarray(np.dstack([grey, grey, grey]))
