"""The panel of finishing."""

import bpy

from ...scene.collection import FINISH_REPORT
from ...scene.find_asset import own_part
from ..panels import Order, TrellisPanel
from ..widgets import draw_own


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
        draw_own(row, settings, "faces", "Faces", "As the Mesh Says")
        steps = column.column()
        steps.active = settings.preset != "raw"
        steps.prop(settings, "outside")
        steps.prop(settings, "crumbs")
        row = column.row()
        row.active = settings.preset == "raw"
        row.prop(settings, "watertight")
        column = layout.column()
        column.prop(settings, "texture")
        column = layout.column()
        column.active = settings.texture != "0"
        for name in ("project_picture", "symmetry", "delight", "material"):
            column.prop(settings, name)
        layout.operator("trellis.finish", icon="SHADERFX")
        layout.operator("trellis.make_quads", icon="MOD_REMESH")
        layout.operator_menu_enum("trellis.export_asset", "kind", icon="EXPORT")
        self._draw_report(context)

    def _draw_report(self, context: bpy.types.Context) -> None:
        """What finishing did to the selected asset."""
        item = own_part(context.object, "finished")
        report = str(item.data.get(FINISH_REPORT, "")) if item is not None else ""
        if report:
            column = self.layout.column(align=True)
            for line in report.splitlines():
                column.label(text=line, translate=False)


CLASSES = (TRELLIS_PT_finish,)
