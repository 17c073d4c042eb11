"""Arrows on the six faces of a region's box: each moves its face and leaves the opposite one where it is."""

from collections.abc import Callable

import bpy
from mathutils import Matrix, Vector

from ...editing.region_objects import is_region

COLORS = ((1.0, 0.2, 0.32), (0.54, 0.86, 0.0), (0.16, 0.56, 1.0))
SHORTEST = 1e-4  # of a side, in the scene's units: a box without volume could not be drawn out again


class TRELLIS_GGT_region(bpy.types.GizmoGroup):
    """Shown while a box is the active object, beside the tool that is chosen."""

    bl_idname = "TRELLIS_GGT_region"
    bl_label = "Region Box"
    bl_space_type = "VIEW_3D"
    bl_region_type = "WINDOW"
    bl_options = {"3D", "PERSISTENT"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        item = context.object
        return context.mode == "OBJECT" and is_region(item) and item.type == "EMPTY" and item.select_get()

    def setup(self, context: bpy.types.Context) -> None:
        self.arrows = []
        for number in range(6):
            axis, sign = number // 2, 1 - 2 * (number % 2)
            arrow = self.gizmos.new("GIZMO_GT_arrow_3d")
            arrow.target_set_handler("offset", get=_length_of(axis), set=_set_length(axis, sign))
            arrow.color, arrow.alpha = COLORS[axis], 0.7
            arrow.color_highlight, arrow.alpha_highlight = (1.0, 1.0, 1.0), 1.0
            arrow.length = 0.4
            self.arrows.append((arrow, axis, sign))

    def draw_prepare(self, context: bpy.types.Context) -> None:
        """Each arrow's origin is the face that stays; its offset is the box's length along it."""
        if not is_region(context.object):
            return
        matrix = context.object.matrix_world
        for arrow, axis, sign in self.arrows:
            side = matrix.col[axis].xyz * context.object.empty_display_size
            turned = side.normalized() if side.length else Vector((0.0, 0.0, 1.0))
            rotation = (sign * turned).to_track_quat("Z", "Y").to_matrix().to_4x4()
            arrow.matrix_basis = Matrix.Translation(matrix.translation - sign * side) @ rotation


def _length_of(axis: int) -> Callable[[], float]:
    return lambda: side_length(bpy.context.object, axis)


def _set_length(axis: int, sign: int) -> Callable[[float], None]:
    return lambda length: move_face(bpy.context.object, axis, sign, length)


def side_length(box: bpy.types.Object, axis: int) -> float:
    """The box's length along one of its own axes, in the scene's units."""
    return 2 * box.matrix_world.col[axis].xyz.length * box.empty_display_size


def move_face(box: bpy.types.Object, axis: int, sign: int, length: float) -> None:
    """Gives the box another length along an axis; the face on the other side (-`sign`) stays where it is."""
    before = side_length(box, axis)
    if not before:
        return
    growth = max(length, SHORTEST) / before
    side = box.matrix_basis.col[axis].xyz * box.empty_display_size
    box.scale[axis] *= growth
    box.location += sign * (growth - 1) * side


CLASSES = (TRELLIS_GGT_region,)
