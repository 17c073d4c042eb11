"""The list of several pictures and its buttons."""

import bpy

from ..thumbnails import icon_of_picture


class TRELLIS_UL_pictures(bpy.types.UIList):
    """One picture a row; the first shows the object's front."""

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0) -> None:
        row = layout.row(align=True)
        row.label(text=item.label, icon_value=icon_of_picture(layout, item), translate=False)
        if index == 0:
            end = row.row()
            end.alignment = "RIGHT"
            end.label(text="Front")


class TRELLIS_OT_add_picture(bpy.types.Operator):
    """Add a picture of the same object from another side"""

    bl_idname = "trellis.add_picture"
    bl_label = "Add View"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the model has no use for another one."""
        reason = context.scene.trellis.why_one_picture()
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        bpy.ops.wm.call_menu(name="TRELLIS_MT_add_picture")
        return {"FINISHED"}


class TRELLIS_OT_remove_picture(bpy.types.Operator):
    """Take this picture off the list; its file or image stays"""

    bl_idname = "trellis.remove_picture"
    bl_label = "Remove Picture"
    bl_options = {"INTERNAL", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(context.scene.trellis.pictures)

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.trellis
        settings.pictures.remove(min(settings.active_picture, len(settings.pictures) - 1))
        settings.active_picture = max(min(settings.active_picture, len(settings.pictures) - 1), 0)
        return {"FINISHED"}


class TRELLIS_OT_move_picture(bpy.types.Operator):
    """Move this picture up or down; the first one shows the object's front"""

    bl_idname = "trellis.move_picture"
    bl_label = "Move Picture"
    bl_options = {"INTERNAL", "UNDO"}

    by: bpy.props.IntProperty(default=-1, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return len(context.scene.trellis.pictures) > 1

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.trellis
        place = min(settings.active_picture, len(settings.pictures) - 1)
        new_place = min(max(place + self.by, 0), len(settings.pictures) - 1)
        settings.pictures.move(place, new_place)
        settings.active_picture = new_place
        return {"FINISHED"}


CLASSES = (
    TRELLIS_UL_pictures,
    TRELLIS_OT_add_picture,
    TRELLIS_OT_remove_picture,
    TRELLIS_OT_move_picture,
)
