"""Arrows on the six faces of a region's box: each moves its face and leaves the opposite one where it is."""

import bpy
from bpy_extras import view3d_utils
from mathutils import Matrix, Vector

from ...editing.region_objects import is_region

COLORS = ((1.0, 0.2, 0.32), (0.54, 0.86, 0.0), (0.16, 0.56, 1.0))
LEAST = 1e-3  # of the former length: a box without volume could not be drawn out again


class TRELLIS_GGT_region(bpy.types.GizmoGroup):
    """Shown while a box is the active object, beside the tool that is chosen."""

    bl_idname = "TRELLIS_GGT_region"
    bl_label = "Region Box"
    bl_space_type = "VIEW_3D"
    bl_region_type = "WINDOW"
    bl_options = {"3D", "PERSISTENT", "SHOW_MODAL_ALL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        item = context.object
        return context.mode == "OBJECT" and is_region(item) and item.type == "EMPTY" and item.select_get()

    def setup(self, context: bpy.types.Context) -> None:
        self.arrows = []
        for number in range(6):
            axis, sign = number // 2, 1 - 2 * (number % 2)
            arrow = self.gizmos.new("GIZMO_GT_arrow_3d")
            moves = arrow.target_set_operator("trellis.move_region_face")
            moves.axis, moves.sign = axis, sign
            arrow.color, arrow.alpha = COLORS[axis], 0.7
            arrow.color_highlight, arrow.alpha_highlight = (1.0, 1.0, 1.0), 1.0
            arrow.length = 0.4
            self.arrows.append((arrow, axis, sign))

    def draw_prepare(self, context: bpy.types.Context) -> None:
        """Each arrow starts in the middle of its face."""
        if not is_region(context.object):
            return
        for arrow, axis, sign in self.arrows:
            middle, outwards = face(context.object, axis, sign)
            turned = outwards.to_track_quat("Z", "Y").to_matrix().to_4x4()
            arrow.matrix_basis = Matrix.Translation(middle) @ turned


class TRELLIS_OT_move_region_face(bpy.types.Operator):
    """Move this face of the box; the opposite one stays where it is"""

    bl_idname = "trellis.move_region_face"
    bl_label = "Move Face of Region"
    bl_options = {"UNDO", "BLOCKING", "INTERNAL"}

    axis: bpy.props.IntProperty(min=0, max=2)
    sign: bpy.props.IntProperty(min=-1, max=1, default=1)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return is_region(context.object) and context.object.type == "EMPTY"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        box = context.object
        self.before = (box.location.copy(), box.scale.copy())
        self.middle, self.outwards = face(box, self.axis, self.sign)
        self.length = 2 * (self.middle - box.matrix_world.translation).length
        self.grabbed = self._along(context, event)
        if not self.length or self.grabbed is None:
            return {"CANCELLED"}
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        box = context.object
        if event.type in {"RIGHTMOUSE", "ESC"}:
            box.location, box.scale = self.before
            return {"CANCELLED"}
        if event.type == "LEFTMOUSE" and event.value == "RELEASE":
            return {"FINISHED"}
        place = self._along(context, event) if event.type == "MOUSEMOVE" else None
        if place is not None:
            box.location, box.scale = self.before
            move_face(box, self.axis, self.sign, 1 + (place - self.grabbed) / self.length)
        return {"RUNNING_MODAL"}

    def _along(self, context: bpy.types.Context, event: bpy.types.Event) -> float | None:
        """Where the mouse points to on the line through the face; None where the view looks along it."""
        region, view = context.region, context.space_data.region_3d
        mouse = (event.mouse_region_x, event.mouse_region_y)
        eye = view3d_utils.region_2d_to_origin_3d(region, view, mouse)
        sight = view3d_utils.region_2d_to_vector_3d(region, view, mouse)
        way, slant = eye - self.middle, self.outwards.dot(sight)
        if 1 - slant * slant < 1e-4:
            return None
        return (self.outwards.dot(way) - slant * sight.dot(way)) / (1 - slant * slant)


def face(box: bpy.types.Object, axis: int, sign: int) -> tuple[Vector, Vector]:
    """The middle of a face and the direction of length 1 that looks out of it, in the world."""
    side = sign * box.empty_display_size * box.matrix_world.col[axis].xyz
    outwards = side.normalized() if side.length else Vector((0.0, 0.0, 1.0))
    return box.matrix_world.translation + side, outwards


def move_face(box: bpy.types.Object, axis: int, sign: int, growth: float) -> None:
    """Makes the box `growth` times as long along an axis; the face on the other side stays where it is."""
    growth = max(growth, LEAST)
    side = box.matrix_basis.col[axis].xyz * box.empty_display_size
    box.location += sign * (growth - 1) * side
    box.scale[axis] *= growth


CLASSES = (TRELLIS_OT_move_region_face, TRELLIS_GGT_region)
