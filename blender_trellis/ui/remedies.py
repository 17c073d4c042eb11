"""Buttons that mend what stands in the way of a job, or what made one fail."""

import bpy

from ..extension_paths import EXTENSION, enabled_extension
from ..jobs import session
from ..jobs.hindrance import Hindrance
from .widgets import draw_task, draw_text

LABELS = {"free_parts": "Free Memory", "half_precision": "Use Half Precision"}


class TRELLIS_OT_mend(bpy.types.Operator):
    """Change the setting that made this fail, in the preferences of the add-on"""

    bl_idname = "trellis.mend"
    bl_label = "Mend"
    bl_options = {"INTERNAL"}

    remedy: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _preferences(context) is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen = _preferences(context)
        if self.remedy == "half_precision":
            chosen.precision = "auto"  # which is half wherever the device computes in half
        chosen.memory = "auto"
        session.dismiss()  # jobs that wait, or are run again, go by what the preferences say then
        return {"FINISHED"}


class TRELLIS_OT_open_preferences(bpy.types.Operator):
    """Show this add-on's preferences"""

    bl_idname = "trellis.open_preferences"
    bl_label = "Open Preferences"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        bpy.ops.preferences.addon_show(module=enabled_extension() or EXTENSION)
        return {"FINISHED"}


def _preferences(context: bpy.types.Context) -> bpy.types.AddonPreferences | None:
    addon = context.preferences.addons.get(enabled_extension())
    return addon.preferences if addon is not None else None


def draw_hindrance(layout: bpy.types.UILayout, found: Hindrance | None, letters: int) -> None:
    """What stands in the way, and the button that mends it."""
    if found is None:
        return
    box = layout.box()
    draw_text(box, found.sentence, "INFO", letters)
    if found.remedy == "download":
        task = session.task("models")
        if task is None or task.done:
            box.operator("trellis.download_model", text="Download", icon="IMPORT").name = found.model
        else:
            draw_task(box, task, "models")
    else:
        box.operator("trellis.open_folder", icon="FILE_FOLDER")


def draw_remedy(layout: bpy.types.UILayout, remedy: str) -> None:
    """The button that mends a job's fault, where a setting does."""
    if remedy in LABELS:
        layout.operator("trellis.mend", text=LABELS[remedy], icon="TOOL_SETTINGS").remedy = remedy
    elif remedy in ("preferences", "resume"):
        if remedy == "resume":
            layout.operator("trellis.resume_jobs", icon="PLAY")
        layout.operator("trellis.open_preferences", icon="PREFERENCES")


CLASSES = (TRELLIS_OT_mend, TRELLIS_OT_open_preferences)
