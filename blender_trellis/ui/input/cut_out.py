"""The preview of the cut-out: what the model will see of the chosen picture, before anything runs."""

from collections.abc import Hashable
from pathlib import Path

import bpy

from ...faults import Fault
from ...jobs import session
from ...jobs.cut_out import Asked
from ...protocol import Array, CutOut
from .pictures import TrellisPicture, active_picture


def key_of(picture: TrellisPicture, background: str) -> Hashable:
    """Says whether a cut-out is still that of the picture; a file that has changed is another one."""
    if picture.image is not None:
        return picture.image.name_full, picture.image.is_dirty, background
    file = Path(bpy.path.abspath(picture.path))
    try:
        return str(file), file.stat().st_mtime_ns, background
    except (OSError, ValueError):  # whoever reads it says what is wrong
        return str(file), 0, background


def refresh_cut_out(settings, again: bool = False) -> None:
    """Asks for the cut-out of the picture that is shown, where it is wanted and not asked for yet."""
    picture = active_picture(settings)
    if not settings.shows_cut_out or picture is None or not picture.is_set:
        return
    key, former = key_of(picture, settings.background), session.cut_out()
    if not again and former is not None and former.key == key:
        return
    try:
        read = picture.read()
        file = Array("u1", (len(read.data),), read.data)
        session.ask_cut_out(CutOut("", (file,), read.name, settings.background), key)
    except Fault as fault:
        session.refuse_cut_out(key, str(fault))


def shown_cut_out(settings) -> Asked | None:
    """The cut-out of the picture that is shown, as far as it has come; None where it was not asked for."""
    picture, asked = active_picture(settings), session.cut_out()
    if not settings.shows_cut_out or picture is None or asked is None:
        return None
    return asked if asked.key == key_of(picture, settings.background) else None


class TRELLIS_OT_refresh_cut_out(bpy.types.Operator):
    """Cut the picture out again, as after painting on it"""

    bl_idname = "trellis.refresh_cut_out"
    bl_label = "Cut Out Again"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A cut-out needs the backend."""
        if not session.has_backend():
            cls.poll_message_set("Install the backend first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        refresh_cut_out(context.scene.trellis, again=True)
        return {"FINISHED"}


CLASSES = (TRELLIS_OT_refresh_cut_out,)
