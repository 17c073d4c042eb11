"""How things stand with the backend, for the preferences and, while it is missing, for the sidebar."""

from pathlib import Path

import bpy

from ...backend_settings import backend_settings
from ...extension_paths import user_folder
from ...install.backend_install import environment_folder, has_leftovers
from ...jobs import session
from ...process.background_task import TaskState
from ...translations import translated
from ..widgets import draw_outcome, draw_task, draw_text
from .operators import needs, wanted


def draw_install(layout: bpy.types.UILayout, letters: int) -> None:
    """What is there, the buttons that change it, and how far they have come."""
    box = layout.box()
    task = session.task("install")
    if task is not None and not task.done:
        draw_task(box, task, "install")
        row = box.row()
        row.label(text="Blender stays usable meanwhile")
        row.operator("trellis.open_install_log", icon="TEXT")
        return
    command, python = backend_settings().command, session.backend_python()
    if command:
        draw_text(box, translated(f"The backend is started elsewhere, by: {command}"), "URL", letters)
    elif python is None:
        _draw_missing(box, letters)
    else:
        _draw_found(box, python, letters)
    if task is not None and not command:
        _draw_outcome(box, task, letters)


def _draw_missing(layout: bpy.types.UILayout, letters: int) -> None:
    draw_text(layout, "The backend, which computes the models, is not installed yet.", "INFO", letters)
    draw_text(layout, translated(needs(wanted())), "BLANK1", letters)
    _draw_online_access(layout, letters)
    row = layout.row(align=True)
    row.scale_y = 1.3
    row.operator("trellis.install_backend", icon="IMPORT")
    # Where another Python or a folder of packages is named.
    row.operator("trellis.open_preferences", text="", icon="PREFERENCES")
    if has_leftovers(user_folder()):
        row.operator("trellis.remove_backend", text="", icon="TRASH")


def _draw_online_access(layout: bpy.types.UILayout, letters: int) -> None:
    """Why nothing can be downloaded, and the button that leads there, where that is so."""
    if bpy.app.online_access or backend_settings().wheels:
        return
    sentence = "Installing downloads packages, which Blender's preferences do not allow yet."
    draw_text(layout, sentence, "ERROR", letters)
    allow = layout.operator("screen.userpref_show", text="Allow Online Access…", icon="PREFERENCES")
    allow.section = "SYSTEM"


def _draw_found(layout: bpy.types.UILayout, python: Path, letters: int) -> None:
    """An interpreter: what was found out about it, and what can be done with one that was installed here."""
    ours = environment_folder(user_folder()) in python.parents
    health = None if session.needs_repair() else session.backend_health()
    if health is not None and health.is_right:
        told = "The backend is installed" if ours else "The backend runs in another Python"
        draw_text(layout, f"{translated(told)}: {health.sentence}", "CHECKMARK", letters)
    elif health is None and not session.needs_repair():
        draw_text(layout, "Looking at the backend", "SORTTIME", letters)
    else:
        wrong = "The extension was updated and needs other packages than are installed: repair the backend."
        column = layout.column()
        column.alert = True
        draw_text(column, wrong if health is None else translated(health.sentence), "ERROR", letters)
        if ours:
            _draw_online_access(layout, letters)
    if not ours:
        draw_text(layout, str(python), "BLANK1", letters)
        return
    row = layout.row(align=True)
    row.operator("trellis.install_backend", text="Repair", icon="FILE_REFRESH")
    row.operator("trellis.remove_backend", text="Remove", icon="TRASH")
    row.operator("trellis.open_install_log", icon="TEXT")


def _draw_outcome(layout: bpy.types.UILayout, task: TaskState, letters: int) -> None:
    if task.error is None:
        if session.backend_python() is None:  # else what is installed says it
            draw_outcome(layout, task, letters)
        return
    column = layout.column()
    column.alert = not task.cancelled
    draw_text(column, translated(str(task.error)), "INFO" if task.cancelled else "ERROR", letters)
    if not task.cancelled:
        column = layout.column(align=True)
        row = column.row(align=True)
        row.operator("trellis.copy_outcome", icon="COPYDOWN").name = "install"
        row.operator("trellis.open_install_log", icon="TEXT")
        column.operator("trellis.open_folder", icon="FILE_FOLDER")
