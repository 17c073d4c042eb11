"""The part of the panel that is about the Gaussians of the active object's asset."""

import bpy

from ...scene.collection import shown_objects
from ...scene.display.colors import colors_in_use, suited_colors
from ...scene.gaussians.nodes import FACING, IN_VIEWPORT, SIZE, WIDENING, get_input, has_input, input_property
from ...scene.gaussians.object import MODIFIER, is_instanced
from ...scene.gaussians.settings import lacks_bounces
from ..widgets import draw_text, letters_across


def draw_splats(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    items: list[bpy.types.Object],
    splats: bpy.types.Object,
) -> None:
    """Which of the items is shown, how viewports draw the splats, and what a render would do to them."""
    kind = shown_objects(items)
    layout.label(text="Show")
    row = layout.row(align=True)
    for choice, text in (("mesh", "Mesh"), ("gaussian", "Gaussians"), ("both", "Both")):
        row.operator("trellis.show", text=text, depress=kind == choice).kind = choice
    if kind not in ("gaussian", "both"):
        return
    modifier = splats.modifiers[MODIFIER]
    column = layout.column(align=True)
    for name in (IN_VIEWPORT, SIZE, FACING, WIDENING):
        if not has_input(modifier, name):  # drawn by an artist's own copy of former nodes
            continue
        row = column.row()
        if name == SIZE:
            row.active = not get_input(modifier, IN_VIEWPORT)
        if name == WIDENING:
            row.active = bool(get_input(modifier, FACING))
        row.prop(*input_property(modifier, name), text=name)
    _draw_render_settings(layout, context, splats)


def _draw_render_settings(
    layout: bpy.types.UILayout, context: bpy.types.Context, splats: bpy.types.Object
) -> None:
    used = colors_in_use(context.scene, splats)
    layout.label(text="Colors in Renders")
    row = layout.row(align=True)
    for choice, text in (("STANDARD", "Standard"), ("VIEWERS", "As Viewers")):
        row.operator("trellis.true_colors", text=text, depress=used == choice).colors = choice
    reasons = []
    if not used:
        name = context.scene.view_settings.view_transform
        reasons.append(f"The view transform {name} shows other colors than the splats hold.")
    if used == "VIEWERS" and suited_colors(context.scene) != used:
        reasons.append("Lit objects look too dark as viewers show splats: Standard is for them.")
    if get_input(splats.modifiers[MODIFIER], FACING) and is_instanced(splats, context.scene):
        reasons.append("Instances of its collection show splats wrong: switch Face the Camera off for them.")
    if lacks_bounces(context.scene):
        reasons.append("Cycles stops its rays within the splats: too few transparent bounces.")
    for reason in reasons:
        draw_text(layout, reason, "INFO", letters_across(context))
