"""The buttons of candidates: make some, pick, finish what is picked, discard the rest."""

from dataclasses import replace

import bpy

from ...backend_settings import backend_settings
from ...faults import Fault
from ...jobs import session
from ...jobs.candidates import of_seeds
from ...jobs.placement import Placement
from ..operators import why_not_generate
from ..properties import SEED_MAX
from .drawing import drawn


class TRELLIS_OT_make_candidates(bpy.types.Operator):
    """Make several shapes to choose from, each of another seed. They come sooner than finished objects"""

    bl_idname = "trellis.make_candidates"
    bl_label = "Make Candidates"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = why_not_generate(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.trellis
        try:
            pictures = settings.read_pictures()
            settings.draw_seed()
            name = pictures[0].stem if pictures else settings.prompt.strip()[:40]
            asked = replace(settings.to_request(pictures, backend_settings()), structure_only=True)
            first, standing = session.next_candidate(), settings.to_standing()
            for place, request in enumerate(of_seeds(asked, settings.candidates, SEED_MAX)):
                session.submit(request, Placement(name, standing=standing, candidate=first + place))
        except Fault as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_pick_candidate(bpy.types.Operator):
    """Pick this shape to be finished, or no longer"""

    bl_idname = "trellis.pick_candidate"
    bl_label = "Pick"
    bl_options = {"INTERNAL"}

    candidate: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.pick(self.candidate)
        return {"FINISHED"}


class TRELLIS_OT_finish_picked(bpy.types.Operator):
    """Make finished objects of the shapes that are picked"""

    bl_idname = "trellis.finish_picked"
    bl_label = "Finish Picked"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if not any(one.picked for one in session.candidates()):
            cls.poll_message_set("Pick a shape first: click it in the 3D view, or its number here")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session.finish_picked({one.candidate.id: one.foot for one in drawn(context)})
        except Fault as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_discard_candidates(bpy.types.Operator):
    """Drop the shapes that are left to choose from, and those that are still to come"""

    bl_idname = "trellis.discard_candidates"
    bl_label = "Discard"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.discard_candidates()
        return {"FINISHED"}


CLASSES = (
    TRELLIS_OT_make_candidates,
    TRELLIS_OT_pick_candidate,
    TRELLIS_OT_finish_picked,
    TRELLIS_OT_discard_candidates,
)
