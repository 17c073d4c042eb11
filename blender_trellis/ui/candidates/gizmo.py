"""A click on a candidate in the 3D view picks it, whatever tool is chosen."""

from collections.abc import Sequence

import bpy
from bpy_extras import view3d_utils
from mathutils import Vector

from ...jobs import session
from ...jobs.candidates import MOST
from .drawing import Drawn, drawn

MANY = 3 * MOST  # candidates that can be clicked; the others have their numbers in the panel


class TRELLIS_GT_candidate(bpy.types.Gizmo):
    """What is clicked of one candidate: its box, where no other one is before it. It is drawn elsewhere."""

    bl_idname = "TRELLIS_GT_candidate"
    __slots__ = ("number",)

    def setup(self) -> None:
        self.number = 0

    def draw(self, context: bpy.types.Context) -> None:
        """Nothing to add."""

    def test_select(self, context: bpy.types.Context, location: tuple[int, int]) -> int:
        """0 where the mouse is on it, -1 where it is not."""
        at = (context.region, context.region_data, location)
        ray = (view3d_utils.region_2d_to_origin_3d(*at), view3d_utils.region_2d_to_vector_3d(*at))
        return 0 if first_hit(drawn(context), *ray) == self.number else -1

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        shown = drawn(context)
        if self.number < len(shown):
            session.pick(shown[self.number].candidate.id)
        return {"FINISHED"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event, tweak: set[str]) -> set[str]:
        return {"FINISHED"}


def first_hit(shown: Sequence[Drawn], origin: Vector, direction: Vector) -> int | None:
    """Which candidate a ray meets first; None where it meets none."""
    distances = {number: one.distance(origin, direction) for number, one in enumerate(shown)}
    met = {number: distance for number, distance in distances.items() if distance is not None}
    return min(met, key=met.__getitem__, default=None)


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
