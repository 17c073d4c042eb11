"""The bytes of a picture, from a file or from an image open in Blender. The backend decodes them."""

import hashlib
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import bpy

from .faults import Fault
from .protocol.pictures import PICTURE_SUFFIXES, begins_as_picture

LARGEST_FILE = 128 << 20


@dataclass(frozen=True)
class Picture:
    """One picture file, read."""

    name: str  # of the file, with its suffix
    data: bytes

    @property
    def stem(self) -> str:
        """What the object is called after."""
        return Path(self.name).stem

    @property
    def hash(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()


def read_picture(path: str | Path) -> Picture:
    """Reads a picture file as it is. Fault where it cannot be read."""
    if not str(path):
        raise Fault("No picture is chosen: choose a PNG, JPEG or WebP file.")
    file = Path(path)
    try:
        info = file.stat()
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            raise Fault(f'"{file}" is a device or pipe: choose a picture file.')
        if info.st_size > LARGEST_FILE:
            raise Fault(f'The picture "{file}" is larger than {LARGEST_FILE >> 20} MB: choose a smaller one.')
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise Fault(f'The picture "{file}" does not exist: choose another file.') from error
    except IsADirectoryError as error:
        raise Fault(f'"{file}" is a folder: choose a picture file in it.') from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Fault(f'The picture "{file}" cannot be read ({reason}): choose another file.') from error
    if not data:
        raise Fault(f'The picture "{file}" is empty: choose another file.')
    if not begins_as_picture(data):
        raise Fault(
            f'"{file}" is no picture that can be read: choose a PNG, JPEG, WebP, AVIF, BMP, GIF or TIFF file.'
        )
    return Picture(file.name, data)


def read_image(image: bpy.types.Image) -> Picture:
    """Takes an image that is open in Blender: its packed or original file, else its pixels as they are shown.

    A file's bytes stand for it only while nothing was painted on it and its colour space is the file's.
    """
    shown_as_stored = not image.is_dirty and not image.is_float and image.colorspace_settings.name == "sRGB"
    shown_as_stored = shown_as_stored and image.source != "TILED"
    packed = bytes(image.packed_file.data) if image.packed_file is not None else b""
    if shown_as_stored and packed and (begins_as_picture(packed) or not _has_pixels(image)):
        return Picture(image.name, packed)
    if shown_as_stored and not packed and Path(image.filepath).suffix.lower() in PICTURE_SUFFIXES:
        return read_picture(bpy.path.abspath(image.filepath, library=image.library))
    if not _has_pixels(image):
        raise Fault(f'The image "{image.name}" has no pixels: open another one.')
    return Picture(image.name, _shown_pixels(image))


def _has_pixels(image: bpy.types.Image) -> bool:
    return image.has_data or len(image.pixels) > 0


def _shown_pixels(image: bpy.types.Image) -> bytes:
    """A PNG of the image in sRGB, as Blender shows it without any look; the image itself stays as it is."""
    scene = bpy.data.scenes.new("TRELLIS picture")
    try:
        scene.display_settings.display_device = "sRGB"
        scene.view_settings.view_transform = "Standard"
        settings = scene.render.image_settings
        settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGBA", "8"
        with tempfile.TemporaryDirectory() as folder:
            tiled = image.source == "TILED"
            image.save_render(
                str(Path(folder, "picture.<UDIM>.png" if tiled else "picture.png")), scene=scene
            )
            first = f"picture.{image.tiles[0].number}.png" if tiled else "picture.png"
            return Path(folder, first).read_bytes()
    except (RuntimeError, OSError) as error:
        raise Fault(f'The image "{image.name}" cannot be read ({error}): open it from a file.') from error
    finally:
        bpy.data.scenes.remove(scene)
