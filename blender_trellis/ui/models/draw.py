"""The list of models in the preferences and in the sidebar."""

import bpy

from ...jobs import session
from ...translations import translated
from ..widgets import draw_outcome, draw_task, draw_text
from .rows import Row, rows, size_in_words

WIDE = 75  # letters across, from which on a model is one line
ICONS = {"model": "MESH_ICOSPHERE", "remover": "IMAGE_RGB_ALPHA", "part": "PLUGIN"}
TITLES = {"remover": "Background Removers", "part": "Parts That Models Need"}
STATES = {
    "bundled": "Bundled",
    "folder": "Installed",
    "cache": "In the download cache",
    "arriving": "Not complete yet",
    "incomplete": "Files are missing",
}


def draw_models(layout: bpy.types.UILayout, letters: int) -> None:
    """All models, what runs on them now or ran last, and the button that takes in a folder."""
    task = session.task("models")
    if task is not None and not task.done:
        draw_task(layout, task, "models")
    elif task is not None:
        draw_outcome(layout, task, letters)
    kind = "model"
    column = layout.column(align=letters >= WIDE)
    for row in rows():
        if row.kind != kind:
            kind = row.kind
            column.separator()
            column.label(text=TITLES[kind])
        _draw_row(column, row, letters)
    layout.operator("trellis.import_models", text="Import Folder…", icon="FILE_FOLDER")
    if not bpy.app.online_access:
        draw_text(
            layout, "Downloads need online access, which is off in Blender's preferences.", "INFO", letters
        )
        layout.operator(
            "screen.userpref_show", text="Allow Online Access…", icon="PREFERENCES"
        ).section = "SYSTEM"


def _draw_row(layout: bpy.types.UILayout, row: Row, letters: int) -> None:
    icon = "CHECKMARK" if row.found.usable else ICONS[row.kind]
    if letters < WIDE:
        line = layout.row(align=True)
        line.label(text=row.label, icon=icon)
        _draw_buttons(line, row, short=True)
        below = layout.column(align=True)
        below.active = False
        state = STATES[row.found.where] if row.found.where in ("arriving", "incomplete") else ""
        said = (row.licence, translated(row.takes), translated(state))
        details = (size_in_words(row.size_bytes), *said)
        draw_text(below, ", ".join(filter(None, details)), "BLANK1", letters)
        return
    split = layout.split(factor=0.22)
    split.label(text=row.label, icon=icon)
    split = split.split(factor=0.7)
    facts = split.row()
    facts.active = False
    takes = f"{translated(row.takes)} → {translated(row.gives)}" if row.gives else translated(row.about)
    columns = facts.split(factor=0.66)
    columns.label(text=takes, translate=False)
    columns = columns.split(factor=0.4)
    columns.label(text=size_in_words(row.size_bytes))
    columns.label(text=row.licence or row.origin)
    buttons = split.row(align=True)
    buttons.alignment = "RIGHT"
    _draw_buttons(buttons, row, short=False)


def _draw_buttons(layout: bpy.types.UILayout, row: Row, short: bool) -> None:
    if row.found.where in ("absent", "arriving", "incomplete"):
        words = {"absent": "Download", "arriving": "Continue", "incomplete": "Complete"}[row.found.where]
        size = "" if row.found.where == "arriving" else f" {size_in_words(row.fetched_bytes)}"
        layout.operator(
            "trellis.download_model", text="" if short else translated(words) + size, icon="IMPORT"
        ).name = row.name
    else:
        verify = "" if short else STATES[row.found.where]
        if verify:
            layout.label(text=verify)
        layout.operator("trellis.verify_model", text="", icon="CHECKBOX_HLT").name = row.name
    if row.entry is not None and row.found.where in ("folder", "arriving", "incomplete"):
        layout.operator("trellis.delete_model", text="", icon="TRASH").name = row.name
