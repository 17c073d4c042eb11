"""The panel of variants. Draws what is selected and set, and changes neither."""

import bpy

from ...jobs import session
from ...protocol import ModelInfo
from ..panels import Order, TrellisPanel
from ..widgets import draw_own, draw_reasons, draw_text, letters_across
from .reasons import model_of, why_not_encode, why_not_retexture, why_not_vary
from .request import Selected, selected
from .settings import OWN, PICTURE, SENTENCE, TrellisVarySettings


class TRELLIS_PT_vary(TrellisPanel):
    """Variants of an asset or of any mesh."""

    bl_label = "Vary"
    bl_order = Order.VARY
    bl_description = "Make variants of an asset or a mesh, or give a mesh new colors"
    bl_parent_id = "TRELLIS_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, letters = self.layout, letters_across(context)
        chosen = selected(context)
        if chosen.asset is None and not chosen.objects:
            draw_text(layout, "Select an asset or objects with a surface.", "INFO", letters)
            return
        settings = context.scene.trellis.vary
        info = session.model_info(model_of(chosen, context))
        layout.label(text=_title(chosen), icon="OUTLINER_COLLECTION" if chosen.asset else "MESH_DATA")
        layout.row().prop(settings, "what", expand=True)
        draw_guide(layout, settings, chosen, info)
        draw_numbers(layout, settings, info, letters)
        draw_buttons(layout, context, chosen, letters)


def _title(chosen: Selected) -> str:
    more = len(chosen.objects) - 1
    return f"{chosen.name} and {more} more" if more > 0 else chosen.name


def draw_guide(
    layout: bpy.types.UILayout, settings: TrellisVarySettings, chosen: Selected, info: ModelInfo | None
) -> None:
    """What shows how variants look; what the model does not take, and the mesh does not have, is grey."""
    takes = info.takes if info is not None and info.takes else ("pictures", "text")
    able = {OWN: chosen.asset is not None, PICTURE: "pictures" in takes, SENTENCE: "text" in takes}
    column = layout.column(align=True)
    for guide, is_able in able.items():
        row = column.row(align=True)
        row.enabled = is_able
        row.prop_enum(settings, "guide", guide)
    if settings.guide == PICTURE:
        layout.template_ID(settings, "image", open="image.open")
    elif settings.guide == SENTENCE:
        layout.prop(settings, "prompt", text="", icon="TEXT")


def draw_numbers(
    layout: bpy.types.UILayout, settings: TrellisVarySettings, info: ModelInfo | None, letters: int
) -> None:
    """Numbers without effect on the model are grey, and why stands below."""
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    names = ("strength", "count", "seed")
    reasons = [settings.why_idle(name, info) for name in names]
    for name, reason in zip(names, reasons, strict=True):
        row = column.row(align=True)
        row.active = not reason
        if name == "strength":
            draw_own(row, settings, name, "Strength", "As the Model Says")
        else:
            row.prop(settings, name)
        if name == "seed":
            row.prop(settings, "use_random_seed", text="", icon="FILE_REFRESH")
    draw_reasons(layout, tuple(reasons), letters)


def draw_buttons(
    layout: bpy.types.UILayout, context: bpy.types.Context, chosen: Selected, letters: int
) -> None:
    """The buttons, and below them why one is grey."""
    row = layout.row()
    row.scale_y = 1.6
    row.operator("trellis.vary", icon="DUPLICATE")
    reasons = [why_not_vary(context)]
    if chosen.asset is None:
        row = layout.row(align=True)
        row.operator("trellis.retexture", icon="BRUSH_DATA")
        row.operator("trellis.make_editable", icon="MESH_DATA")
        reasons += [why_not_retexture(context), why_not_encode(context)]
    for reason in dict.fromkeys(filter(None, reasons)):
        draw_text(layout, reason, "INFO", letters)


CLASSES = (TRELLIS_PT_vary,)
