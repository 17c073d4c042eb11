"""The list of models in the sidebar."""

import bpy

from ..panels import Order, TrellisPanel
from ..widgets import letters_across
from .draw import draw_models


class TRELLIS_PT_models(TrellisPanel):
    """Models, parts and background removers."""

    bl_label = "Models"
    bl_description = "Which models there are, and which of them lie on this machine"
    bl_parent_id = "TRELLIS_PT_main"
    bl_order = Order.MODELS
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        draw_models(self.layout, letters_across(context))


CLASSES = (TRELLIS_PT_models,)
