"""The job that runs in Blender's status bar, or what was done besides, beside what Blender shows there."""

import bpy

from ...jobs import session
from ...translations import translated

LEFT = "{name}: {words} {percent}, about {seconds} s left"
UNKNOWN = "{name}: {words} {percent}"


def begin() -> None:
    """On registration. Without a window there is no status bar."""
    if not bpy.app.background:
        bpy.types.STATUSBAR_HT_header.append(_draw)


def end() -> None:
    """On unregistration."""
    if not bpy.app.background:
        bpy.types.STATUSBAR_HT_header.remove(_draw)


def words_of(status: "session.Status") -> str:
    """One line on the job that runs, "" where none does."""
    if not status.job:
        return ""
    pattern = translated(UNKNOWN if status.left is None else LEFT)
    return pattern.format(
        name=status.name,
        words=translated(status.words),
        percent=f"{status.fraction:.0%}",
        seconds=status.left,
    )


def _draw(header: bpy.types.Header, context: bpy.types.Context) -> None:
    status = session.status()
    said = words_of(status)
    row = header.layout.row(align=True)
    if not said and status.note:
        row.label(text=translated(status.note), icon="INFO", translate=False)
        row.operator("trellis.dismiss", text="", icon="X", emboss=False)
    if not said:
        return
    row.ui_units_x = 16
    row.progress(factor=status.fraction, text=said)
    row.operator("trellis.cancel", text="", icon="X").job = status.job
