"""The last render as a picture, with the colors that its scene's view gives it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from ..faults import Fault
from .packed import packed_file

NAME = "Last Render"
WRITTEN = {"file_format": "PNG", "color_mode": "RGBA", "color_depth": "8", "color_management": "FOLLOW_SCENE"}
NOT_RENDERED = "Nothing has been rendered yet: render a picture first (F12)."


def last_render(scene: bpy.types.Scene) -> bpy.types.Image:
    """The render result, packed. Fault where there is none."""
    result = next((image for image in bpy.data.images if image.type == "RENDER_RESULT"), None)
    if result is None:
        raise Fault(NOT_RENDERED)
    with tempfile.TemporaryDirectory() as folder, _written_as_png(scene):
        file = Path(folder) / "render.png"
        try:
            result.save_render(str(file), scene=scene)
        except RuntimeError as error:  # Blender's word for a result without pixels
            raise Fault(NOT_RENDERED) from error
        return packed_file(NAME, file)


@contextmanager
def _written_as_png(scene: bpy.types.Scene) -> Iterator[None]:
    """Sets how the scene's pictures are written, and afterwards as it was."""
    settings = scene.render.image_settings
    # Blender 5 says first whether a picture is written at all, and only then as what.
    written = ({"media_type": "IMAGE"} if hasattr(settings, "media_type") else {}) | WRITTEN
    former = {name: getattr(settings, name) for name in written}
    for name, value in written.items():
        setattr(settings, name, value)
    try:
        yield
    finally:
        for name, value in former.items():
            setattr(settings, name, value)
