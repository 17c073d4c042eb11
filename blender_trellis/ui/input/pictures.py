"""The list of pictures of one object, kept on the scene: files, or images of the .blend."""

from collections.abc import Sequence
from pathlib import Path

import bpy

from ...picture_source import Picture, read_image, read_picture

NO_PICTURES = "This model works from words, not pictures"


class TrellisPicture(bpy.types.PropertyGroup):
    """One picture: an image of the .blend where one is set, else a file."""

    path: bpy.props.StringProperty(
        name="Picture",
        description="Picture of one object; best with a transparent or plain background",
        subtype="FILE_PATH",
        update=lambda self, context: self.id_data.trellis.show_picture(),
    )
    image: bpy.props.PointerProperty(
        name="Image",
        description="Picture of one object; best with a transparent or plain background",
        type=bpy.types.Image,
        update=lambda self, context: self.id_data.trellis.show_picture(),
    )

    @property
    def is_set(self) -> bool:
        return bool(self.image or self.path)

    @property
    def label(self) -> str:
        """What lists call it."""
        if self.image is not None:
            return self.image.name
        return Path(bpy.path.abspath(self.path)).name or "Empty"

    def read(self) -> Picture:
        """Its bytes. Raises Fault."""
        if self.image is not None:
            return read_image(self.image)
        return read_picture(bpy.path.abspath(self.path))


def active_picture(settings) -> TrellisPicture | None:
    """The picture that the panel shows; None where there is none."""
    if not settings.pictures:
        return None
    return settings.pictures[min(settings.active_picture, len(settings.pictures) - 1)]


def put_picture(settings, source: str | Path | bpy.types.Image, add: bool = False) -> None:
    """Takes a file or an image in the place of the active picture, or adds it behind the others."""
    picture = active_picture(settings)
    if add or picture is None:
        picture = settings.pictures.add()
        settings.active_picture = len(settings.pictures) - 1
    is_image = isinstance(source, bpy.types.Image)
    # An image goes before a file, so that in this order neither step shows a picture that nobody chose.
    picture.path = "" if is_image else str(source)
    picture.image = source if is_image else None


def put_files(settings, files: Sequence[Path]) -> None:
    """Makes the list of these files, in their order."""
    settings.pictures.clear()
    for file in files:
        put_picture(settings, file, add=True)
    settings.active_picture = 0
