"""What the Asset Browser is told of results."""

import bpy

from ..panels import TrellisPanel


class TRELLIS_PT_marks(TrellisPanel, bpy.types.Panel):
    """Author, licence and tags of results."""

    bl_label = "Mark as Asset"
    bl_parent_id = "TRELLIS_PT_output"
    bl_options = {"DEFAULT_CLOSED"}

    def draw_header(self, context: bpy.types.Context) -> None:
        self.layout.prop(context.scene.trellis.marks, "marks_results", text="")

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        for name in ("author", "license", "tags"):
            column.prop(context.scene.trellis.marks, name)
        column.operator("trellis.mark_asset", icon="ASSET_MANAGER")


CLASSES = (TRELLIS_PT_marks,)
