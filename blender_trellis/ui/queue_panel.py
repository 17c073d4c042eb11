"""The list of jobs: the one that runs, those that wait, those that have ended."""

import bpy

from ..jobs import session
from .panels import Order, TrellisPanel
from .widgets import draw_text, letters_across

ICONS = {
    "queued": "TIME",
    "running": "PLAY",
    "finished": "CHECKMARK",
    "failed": "ERROR",
    "cancelled": "X",
}


class TRELLIS_PT_left(TrellisPanel, bpy.types.Panel):
    """What was not done when Blender closed."""

    bl_label = "Waiting Jobs"
    bl_parent_id = "TRELLIS_PT_main"
    bl_options = {"HIDE_HEADER"}
    bl_order = Order.LEFT

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return session.left_jobs() > 0

    def draw(self, context: bpy.types.Context) -> None:
        box = self.layout.box()
        count = session.left_jobs()
        said = (
            f"{count} jobs were waiting when Blender closed"
            if count > 1
            else "One job was waiting when Blender closed"
        )
        draw_text(box, said, "TIME", letters_across(context))
        row = box.row(align=True)
        row.operator("trellis.continue_left", icon="PLAY")
        row.operator("trellis.discard_left", icon="TRASH")


class TRELLIS_PT_queue(TrellisPanel, bpy.types.Panel):
    """Every job of this session, with what can be done about it."""

    bl_label = "Queue"
    bl_parent_id = "TRELLIS_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = Order.QUEUE

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(session.listed_jobs())

    def draw(self, context: bpy.types.Context) -> None:
        letters = letters_across(context)
        if held := session.held():
            draw_text(self.layout, held, "PAUSE", letters)
            self.layout.operator("trellis.resume_jobs", icon="PLAY")
        draw_jobs(self.layout, session.listed_jobs(), letters)


def draw_jobs(layout: bpy.types.UILayout, jobs: "tuple[session.Listed, ...]", letters: int) -> None:
    """Those that can still be changed, then those that have ended, the last one first."""
    ended = [job for job in jobs if job.state not in ("queued", "running")]
    for job in (*(job for job in jobs if job not in ended), *reversed(ended)):
        _draw_job(layout, job, letters)
    if ended:
        layout.operator("trellis.forget_job", text="Clear Ended", icon="TRASH")


def _draw_job(layout: bpy.types.UILayout, job: "session.Listed", letters: int) -> None:
    row = layout.row(align=True)
    row.label(text=job.name, icon=ICONS[job.state])
    if job.state == "queued":
        for by, icon in ((-1, "TRIA_UP"), (1, "TRIA_DOWN")):
            move = row.operator("trellis.move_job", text="", icon=icon, emboss=False)
            move.job, move.by = job.id, by
    if job.state in ("queued", "running"):
        row.operator("trellis.cancel", text="", icon="X", emboss=False).job = job.id
        return
    row.operator("trellis.retry_job", text="", icon="FILE_REFRESH", emboss=False).job = job.id
    row.operator("trellis.forget_job", text="", icon="X", emboss=False).job = job.id
    if job.state == "failed":
        column = layout.column()
        column.active = False
        draw_text(column, job.message, "BLANK1", letters)


CLASSES = (TRELLIS_PT_left, TRELLIS_PT_queue)
