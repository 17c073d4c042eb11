"""The picture on the system's clipboard: copied pixels, or the path of a copied file."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import bpy

from ..faults import Fault
from ..protocol.pictures import PICTURE_SUFFIXES, begins_as_picture
from .packed import packed_file

NAME = "Clipboard"
NO_PICTURE = (
    "The clipboard holds no picture that Blender can take from here: copy a picture or the path of its file, "
    "or save the picture and choose its file."
)
PROGRAMS = (
    ("wl-paste", "--type", "image/png"),
    ("xclip", "-selection", "clipboard", "-t", "image/png", "-o"),
)
"""What fetches pixels on Linux where this Blender cannot: of Wayland, then of X11."""
NO_PROGRAM = (
    "This Blender cannot take pictures from the clipboard by itself: install xclip, or wl-clipboard for "
    "Wayland, or save the picture and choose its file."
)
SECONDS = 5.0
FILES_FOLLOW = "x-special/nautilus-clipboard"
"""What some of GNOME's file managers put before "copy" or "cut" and the addresses of files."""


def from_clipboard(context: bpy.types.Context) -> Path | bpy.types.Image:
    """A picture file that the clipboard names, else its pixels as a packed image. Fault without either."""
    named = named_file(context.window_manager.clipboard)
    if named is not None:
        return named
    image = _pasted(context) or _fetched()
    if image is None:
        lacks_program = sys.platform == "linux" and not any(shutil.which(one[0]) for one in PROGRAMS)
        raise Fault(NO_PROGRAM if lacks_program else NO_PICTURE)
    return image


def named_file(text: str) -> Path | None:
    """The picture file that a text names by its path or as a file:// address; None where it names none."""
    lines = [one.strip().strip("\"'") for one in text.splitlines() if one.strip()]
    if lines[:1] == [FILES_FOLLOW]:
        del lines[:2]
    line = lines[0] if lines else ""
    try:
        if line.lower().startswith("file:"):
            parts = urlsplit(line)
            line = url2pathname(
                parts.path if parts.netloc in ("", "localhost") else f"//{parts.netloc}{parts.path}"
            )
        if Path(line).suffix.lower() not in PICTURE_SUFFIXES:
            return None
        file = Path(os.path.expanduser(line))
        return file if file.is_absolute() and file.is_file() else None
    except (OSError, ValueError):  # no address, too long for a path, or with letters that none has
        return None


def _pasted(context: bpy.types.Context) -> bpy.types.Image | None:
    """By Blender's own operator, which wants an Image Editor; None where it finds nothing."""
    if bpy.app.background or context.window is None:
        return None
    before = set(bpy.data.images)
    with _image_editor(context):
        if not bpy.ops.image.clipboard_paste.poll():
            return None
        try:
            bpy.ops.image.clipboard_paste()
        except RuntimeError:  # an error that the operator reports
            return None
    image = next((one for one in bpy.data.images if one not in before), None)
    if image is not None:
        image.name = NAME
        image.pack()
    return image


@contextmanager
def _image_editor(context: bpy.types.Context) -> Iterator[None]:
    """An Image Editor's context: of one that is open, else an area is one for as long as this lasts."""
    areas = list(context.window.screen.areas)
    area = next((one for one in areas if one.type == "IMAGE_EDITOR"), None)
    if area is None:
        area = max(areas, key=lambda one: (one != context.area, one.width * one.height))
    former = area.ui_type
    shown = None
    area.type = "IMAGE_EDITOR"
    try:
        shown = area.spaces.active.image
        region = next(one for one in area.regions if one.type == "WINDOW")
        with context.temp_override(window=context.window, area=area, region=region):
            yield
    finally:
        area.spaces.active.image = shown
        area.ui_type = former


def _fetched() -> bpy.types.Image | None:
    """By a program that hands on what is on the clipboard; None where there is none, or no picture."""
    for command in PROGRAMS:
        if shutil.which(command[0]) is None:
            continue
        try:
            data = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if begins_as_picture(data):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "clipboard.png"
                file.write_bytes(data)
                return packed_file(NAME, file)
    return None
