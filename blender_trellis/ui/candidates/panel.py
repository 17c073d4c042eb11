"""The panel of candidates: how many, which are picked, and what becomes of them."""

import bpy

from ...jobs import session
from ..panels import Order, TrellisPanel

ACROSS = 4  # numbers in a row


class TRELLIS_PT_candidates(TrellisPanel, bpy.types.Panel):
    """Shapes to choose from before one is finished."""

    bl_label = "Candidates"
    bl_parent_id = "TRELLIS_PT_main"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = Order.CANDIDATES

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        row = layout.row(align=True)
        row.operator("trellis.make_candidates", icon="MESH_ICOSPHERE")
        amount = row.row(align=True)
        amount.ui_units_x = 3
        amount.prop(context.scene.trellis, "candidates", text="")
        found = session.candidates()
        if not found:
            return
        layout.label(text="Click the shapes to finish:")
        numbers = layout.grid_flow(row_major=True, columns=ACROSS, even_columns=True, align=True)
        for one in found:
            picks = numbers.operator("trellis.pick_candidate", text=str(one.number), depress=one.picked)
            picks.candidate = one.id
        row = layout.row(align=True)
        row.operator("trellis.finish_picked", icon="CHECKMARK")
        row.operator("trellis.discard_candidates", icon="TRASH")


CLASSES = (TRELLIS_PT_candidates,)
