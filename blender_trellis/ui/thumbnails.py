"""Small pictures of the chosen files, loaded once by Blender's previews and freed with the add-on."""

from pathlib import Path

import bpy
import bpy.utils.previews

_previews: "bpy.utils.previews.ImagePreviewCollection | None" = None
"""Blender's own cache; a file that has changed is loaded again."""


def begin() -> None:
    """On registration."""
    global _previews
    _previews = bpy.utils.previews.new()


def end() -> None:
    """On unregistration."""
    global _previews
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
    _previews = None


def icon_of(path: str) -> int:
    """The icon of a picture file, 0 where there is none to show. path: absolute."""
    if _previews is None or not path:
        return 0
    try:
        changed = Path(path).stat().st_mtime_ns
    except (OSError, ValueError):
        return 0
    key = f"{path} {changed}"
    if key not in _previews:
        _previews.load(key, path, "IMAGE")
    return _previews[key].icon_id


def icon_of_picture(layout: bpy.types.UILayout, picture) -> int:
    """The icon of a picture of the list, 0 where there is none to show."""
    if picture.image is not None:
        return layout.icon(picture.image)
    return icon_of(bpy.path.abspath(picture.path))
