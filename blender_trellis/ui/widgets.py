"""Pieces of interface that panels and preferences share. They draw what they are given and change nothing."""

import textwrap
from collections.abc import Iterable
from unicodedata import east_asian_width

import bpy

from ..jobs import session
from ..process.background_task import TaskState
from ..scene.find_asset import IN_EDIT_MODE, is_in_edit_mode
from ..translations import translated

LETTER_POINTS = 7.0  # a letter's width at scale 1, roughly


def letters_across(context: bpy.types.Context) -> int:
    """How many letters fit across the region that is being drawn."""
    scale = context.preferences.system.ui_scale
    width = context.region.width if context.region is not None else 400
    return max(int(width / (LETTER_POINTS * scale)) - 9, 20)


def draw_text(layout: bpy.types.UILayout, text: str, icon: str = "NONE", letters: int = 60) -> None:
    """A paragraph; Blender's labels do not wrap by themselves. The icon stands before the first line."""
    column = layout.column(align=True)
    column.scale_y = 0.85
    said = translated(text)
    if any(east_asian_width(letter) == "W" for letter in said):
        letters //= 2
    lines = [line for part in said.splitlines() for line in textwrap.wrap(part, letters) or [""]]
    for number, line in enumerate(lines):
        before = icon if number == 0 or icon == "NONE" else "BLANK1"
        column.label(text=line, translate=False, icon=before)


def in_object_mode(operator: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    """Whether nothing is edited, for the poll of an operator, which says so where something is."""
    if context.mode != "OBJECT":
        operator.poll_message_set(IN_EDIT_MODE)
        return False
    return True


def none_in_edit_mode(operator: type[bpy.types.Operator], items: Iterable[bpy.types.Object]) -> bool:
    """The same of the meshes of these objects, which may be edited through others."""
    if is_in_edit_mode(items):
        operator.poll_message_set(IN_EDIT_MODE)
        return False
    return True


def report(operator: bpy.types.Operator, level: str, sentence: str) -> None:
    """Tells what an operator did, or why it did not, in the interface's language.

    An error takes the place of the last fault in the panel, which would speak of something else.
    """
    if level == "ERROR":
        session.tell_fault(sentence)
    operator.report({level}, translated(sentence))


def draw_reasons(layout: bpy.types.UILayout, reasons: tuple[str, ...], letters: int) -> None:
    """Why settings above are grey, each reason once."""
    for reason in dict.fromkeys(filter(None, reasons)):
        column = layout.column()
        column.active = False
        draw_text(column, reason, "INFO", letters)


def draw_own(
    layout: bpy.types.UILayout, settings: bpy.types.bpy_struct, name: str, heading: str, otherwise: str
) -> None:
    """A number behind its switch `own_NAME`; while that is off, the words for what holds without it."""
    row = layout.row(align=True, heading=heading)
    row.prop(settings, f"own_{name}", text="")
    if getattr(settings, f"own_{name}"):
        row.prop(settings, name, text="")
    else:
        row.label(text=otherwise)


def draw_task(layout: bpy.types.UILayout, task: TaskState, name: str) -> None:
    """A running task's bar and the button that stops it."""
    row = layout.row(align=True)
    title = translated(task.title)
    row.progress(factor=task.fraction, text=f"{title}: {translated(task.words)}" if task.words else title)
    row.operator("trellis.cancel_task", text="", icon="X").name = name


def draw_outcome(layout: bpy.types.UILayout, task: TaskState, letters: int) -> None:
    """What came of a task that has ended."""
    if task.error is not None:
        draw_text(layout, str(task.error), "ERROR", letters)
    elif not task.cancelled:
        draw_text(layout, str(task.result), "CHECKMARK", letters)
