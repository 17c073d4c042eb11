"""The panel of finishing."""

import bpy

from ..panels import Order, TrellisPanel


class TRELLIS_PT_finish(TrellisPanel, bpy.types.Panel):
    """How a mesh is finished, and the button that finishes one anew."""

    bl_label = "Finish"
    bl_parent_id = "TRELLIS_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = Order.FINISH

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.trellis.finish
        layout.use_property_split = True
        layout.use_property_decorate = False
        column = layout.column()
        column.prop(settings, "preset")
        row = column.row()
        row.active = settings.preset != "raw"
        row.prop(settings, "faces")
        column.prop(settings, "watertight")
        column = layout.column()
        column.prop(settings, "texture")
        column = layout.column()
        column.active = settings.texture != "0"
        for name in ("project_picture", "symmetry", "delight", "material"):
            column.prop(settings, name)
        layout.operator("trellis.finish", icon="SHADERFX")


CLASSES = (TRELLIS_PT_finish,)
