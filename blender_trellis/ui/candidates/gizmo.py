"""A click on a candidate in the 3D view picks it, whatever tool is chosen."""

import bpy
from bpy_extras import view3d_utils

from ...jobs import session
from ...jobs.candidates import MOST
from .drawing import drawn

MANY = 3 * MOST  # candidates that can be clicked; the others have their numbers in the panel


class TRELLIS_GT_candidate(bpy.types.Gizmo):
    """What is clicked of one candidate: the rectangle around it in the view. Its shape is drawn elsewhere."""

    bl_idname = "TRELLIS_GT_candidate"
    __slots__ = ("number",)

    def setup(self) -> None:
        self.number = 0

    def draw(self, context: bpy.types.Context) -> None:
        """Nothing to add."""

    def test_select(self, context: bpy.types.Context, location: tuple[int, int]) -> int:
        """0 where the mouse is on it, -1 where it is not."""
        shown = drawn(context)
        if self.number >= len(shown):
            return -1
        region, view = context.region, context.region_data
        corners = [
            view3d_utils.location_3d_to_region_2d(region, view, one) for one in shown[self.number].corners()
        ]
        seen = [one for one in corners if one is not None]
        if len(seen) < len(corners):
            return -1
        inside = all(
            min(one[axis] for one in seen) <= location[axis] <= max(one[axis] for one in seen)
            for axis in (0, 1)
        )
        return 0 if inside else -1

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        shown = drawn(context)
        if self.number < len(shown):
            session.pick(shown[self.number].candidate.id)
        return {"FINISHED"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event, tweak: set[str]) -> set[str]:
        return {"FINISHED"}


class TRELLIS_GGT_candidates(bpy.types.GizmoGroup):
    """Shown while there are candidates."""

    bl_idname = "TRELLIS_GGT_candidates"
    bl_label = "Candidates"
    bl_space_type = "VIEW_3D"
    bl_region_type = "WINDOW"
    bl_options = {"PERSISTENT", "SHOW_MODAL_ALL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(session.candidates())

    def setup(self, context: bpy.types.Context) -> None:
        for number in range(MANY):
            self.gizmos.new(TRELLIS_GT_candidate.bl_idname).number = number


CLASSES = (TRELLIS_GT_candidate, TRELLIS_GGT_candidates)
