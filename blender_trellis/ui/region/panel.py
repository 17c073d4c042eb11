"""The panel of regions. Draws what the settings and the drawing's memory hold, and changes neither."""

import bpy

from ...editing.region_objects import asset_of
from ...faults import Fault
from ...jobs import session
from ...protocol import ModelInfo
from ..panels import Order, TrellisPanel
from ..widgets import draw_own, draw_reasons, draw_text, letters_across
from .drawing import Taken, taken_by
from .reasons import is_around_everything, why_not_now
from .settings import OWN, PAINTED, PICTURE, SENTENCE, TrellisRegionSettings

GUIDES = (OWN, PICTURE, PAINTED, SENTENCE)
SAMPLING = ("start", "strength", "jumps", "growth", "margin")


class TRELLIS_PT_region(TrellisPanel):
    """A part of an asset, made anew."""

    bl_label = "Regenerate Region"
    bl_order = Order.REGION
    bl_description = "Change a part of an asset and keep the rest exactly as it is"
    bl_parent_id = "TRELLIS_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        layout, letters = self.layout, letters_across(context)
        collection = asset_of(context.object, context.scene)
        row = layout.row(align=True)
        row.operator("trellis.add_region", icon="CUBE")
        row.operator("trellis.use_as_region", text="Use Mesh", icon="MESH_DATA")
        if collection is None:
            draw_text(layout, "Select an asset to change a part of it.", "INFO", letters)
            return
        try:
            taken = taken_by(collection, context.view_layer)
        except Fault as fault:
            draw_text(layout, str(fault), "ERROR", letters)
            return
        if taken is None:
            return
        settings = context.scene.trellis.region
        info = session.model_info(taken.latents.model)
        draw_text(layout, _count(taken), "NONE", letters)
        layout.prop(settings, "mode", text="")
        if settings.mode != "remove":
            draw_guide(layout, settings, info, letters)
            draw_seed(layout, settings, info, letters)
        draw_button(layout, why_not_now(context), letters)


def _count(taken: Taken) -> str:
    own, whole = int(taken.own.sum()), len(taken.latents.arrays["coords"])
    return f"Takes {own:,} of {whole:,} voxels"


def draw_guide(
    layout: bpy.types.UILayout, settings: TrellisRegionSettings, info: ModelInfo | None, letters: int
) -> None:
    """What shows the change; what the model does not take is grey."""
    takes = info.takes if info is not None and info.takes else ("pictures", "text")
    column = layout.column(align=True)
    for guide in GUIDES:
        row = column.row(align=True)
        row.enabled = guide == OWN or ("text" if guide == SENTENCE else "pictures") in takes
        row.prop_enum(settings, "guide", guide)
    if settings.guide == PICTURE:
        layout.template_ID(settings, "image", open="image.open")
    elif settings.guide == SENTENCE:
        layout.prop(settings, "prompt", text="", icon="TEXT")
    elif settings.guide == PAINTED:
        column = layout.column(align=True)
        column.template_ID(settings, "painted")
        column.prop(settings, "view_height")
        column.operator("trellis.paint_change", icon="BRUSH_DATA")


def draw_seed(
    layout: bpy.types.UILayout, settings: TrellisRegionSettings, info: ModelInfo | None, letters: int
) -> None:
    """The number that another try changes."""
    reason = settings.why_idle("seed", info)
    row = layout.row(align=True)
    row.active = not reason
    row.prop(settings, "seed")
    row.prop(settings, "use_random_seed", text="", icon="FILE_REFRESH")
    draw_reasons(layout, (reason,), letters)


def draw_button(layout: bpy.types.UILayout, reason: str, letters: int) -> None:
    """The button, or while a job runs that it does; why it is grey below it."""
    row = layout.row()
    row.scale_y = 1.6
    row.operator("trellis.regenerate_region", icon="FILE_REFRESH")
    if reason:
        draw_text(layout, reason, "INFO", letters)
    if is_around_everything(reason):
        layout.operator("trellis.generate", icon="MESH_MONKEY")


class TRELLIS_PT_region_sampling(TrellisPanel):
    """How the region is regenerated, for those who want to say it."""

    bl_label = "Fine-Tuning"
    bl_parent_id = "TRELLIS_PT_region"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return asset_of(context.object, context.scene) is not None

    def draw(self, context: bpy.types.Context) -> None:
        collection = asset_of(context.object, context.scene)
        assert collection is not None, "poll asks for it"
        info = session.model_info(str(collection.get("trellis_model", "")))
        draw_sampling(self.layout, context.scene.trellis.region, info, letters_across(context))


def draw_sampling(
    layout: bpy.types.UILayout, settings: TrellisRegionSettings, info: ModelInfo | None, letters: int
) -> None:
    """Numbers with defaults that work; those without effect are grey, and why stands below."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    reasons = [settings.why_idle(name, info) for name in SAMPLING]
    for name, reason in zip(SAMPLING, reasons, strict=True):
        row = layout.row()
        row.active = not reason
        if name == "strength":
            usual = settings.usual_strength(info)
            draw_own(row, settings, name, "Strength", "As the Model Says" if usual is None else f"{usual}")
        else:
            row.prop(settings, name)
    draw_reasons(layout, tuple(reasons), letters)
    layout.prop(settings, "keeps_former")


CLASSES = (TRELLIS_PT_region, TRELLIS_PT_region_sampling)
