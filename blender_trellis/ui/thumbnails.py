"""Small pictures of the chosen files and of cut-outs, kept by Blender's previews, freed with the add-on."""

from pathlib import Path

import bpy
import bpy.utils.previews
import numpy as np

_previews: "bpy.utils.previews.ImagePreviewCollection | None" = None
"""Blender's own cache; a file that has changed is loaded again."""
_cut_out: "bpy.utils.previews.ImagePreviewCollection | None" = None
"""Holds the latest one."""


def begin() -> None:
    """On registration."""
    global _previews, _cut_out
    _previews, _cut_out = bpy.utils.previews.new(), bpy.utils.previews.new()


def end() -> None:
    """On unregistration."""
    global _previews, _cut_out
    for held in (_previews, _cut_out):
        if held is not None:
            bpy.utils.previews.remove(held)
    _previews = _cut_out = None


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


def icon_of_pixels(name: str, pixels: np.ndarray) -> int:
    """The icon of sRGB pixels (S, S, 3) uint8, the first row on top; it takes the place of the former one."""
    if _cut_out is None:
        return 0
    if name not in _cut_out:
        _cut_out.clear()
        half = len(pixels) // 2  # of the resolution, which is as fine as panels show it
        even = pixels[: 2 * half, : 2 * half].astype(np.uint16)
        small = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) // 4
        shown = np.full((half, half, 4), 255, np.uint8)
        shown[..., :3] = small[::-1]
        preview = _cut_out.new(name)
        preview.image_size = half, half
        preview.image_pixels.foreach_set(shown.view("<i4").ravel())
    return _cut_out[name].icon_id
