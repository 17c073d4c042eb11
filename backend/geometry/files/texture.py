"""Textures of mesh files: the texels that lie at coordinates. F faces · P places on faces."""

import io
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

REPEAT, CLAMP, MIRROR = 10497, 33071, 33648
"""What lies beyond an image's border, by glTF's numbers."""

_MOST_TEXELS = 16384 * 16384
# Image.open refuses images of more than 13 000 texels a side.
_LARGE = {b"\x89PNG": PngImageFile, b"\xff\xd8": JpegImageFile}

_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Texture:
    """texels (height, width, 3) u8 sRGB · wrap: how it goes on along u and along v."""

    texels: np.ndarray
    wrap: tuple[int, int] = (REPEAT, REPEAT)

    def colors(self, uv: np.ndarray) -> np.ndarray:
        """Texels (P, 3) u8 nearest to `uv` (P, 2), whose origin is the upper left corner."""
        size = np.array(self.texels.shape[1::-1])
        inner = np.stack([_inside(np.nan_to_num(uv[:, k]), self.wrap[k]) for k in range(2)], axis=1)
        column, row = np.minimum((inner * size).astype(int), size - 1).T
        return self.texels[row, column]

    def varies(self, uv: np.ndarray) -> bool:
        """Whether a face's coordinates (F, 3, 2) reach over more than a texel."""
        return bool((np.ptp(uv, axis=1) * self.texels.shape[1::-1] > 1).any())


def open_texture(read: Callable[[], bytes], name: str, path: Path) -> Texture | None:
    """The image that `read` gives; None, and a warning that names it, where it cannot be opened."""
    try:
        return Texture(_texels(read()))
    except _BROKEN as error:
        log.warning("The texture %s of %s cannot be opened (%s); it is left out.", name, path, error)
        return None


def _texels(data: bytes) -> np.ndarray:
    if data.startswith(b"\xabKTX 20"):
        raise ValueError("it is a KTX2 image, which is not read: export it as PNG")
    large = next((kind for start, kind in _LARGE.items() if data.startswith(start)), None)
    with (large or Image.open)(io.BytesIO(data)) as image:
        if image.width * image.height > _MOST_TEXELS:
            raise ValueError(f"it is {image.width} x {image.height} texels large")
        if image.mode.startswith("I"):  # 16 bits a texel, which Pillow cuts off at 255
            grey = np.asarray(image).astype(np.int64) >> 8
            return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _inside(place: np.ndarray, wrap: int) -> np.ndarray:
    """Coordinates (P,) between 0 and 1 of the same texels; the border itself belongs to the last one."""
    if wrap == CLAMP:
        return place.clip(0, 1)
    if wrap == MIRROR:
        return 1 - np.abs(1 - place % 2)
    return np.where((place >= 0) & (place <= 1), place, place % 1)
