"""The input part of the main panel. Draws what the settings hold, and changes nothing."""

import bpy

from ..thumbnails import icon_of_picture
from .pictures import active_picture
from .sources import ONE_CLICK

THUMBNAIL = 6.0


def draw_input(layout: bpy.types.UILayout, settings) -> None:
    """Sentence and pictures; what the model does not take is grey and says so."""
    takes = settings.takes()
    draw_sentence(layout, settings, "text" in takes)
    column = layout.column()
    column.enabled = "pictures" in takes
    column.use_property_decorate = False
    if not column.enabled:
        column.label(text="This model takes no pictures", icon="IMAGE_DATA")
        return
    draw_sources(column)
    draw_active(column, settings)
    draw_list(column, settings)


def draw_sentence(layout: bpy.types.UILayout, settings, is_taken: bool) -> None:
    """The prompt; grey where the model takes none."""
    row = layout.row()
    row.enabled = is_taken
    words = "A wooden chair" if is_taken else "This model takes no sentence"
    row.prop(settings, "prompt", text="", icon="TEXT", placeholder=words)


def draw_sources(layout: bpy.types.UILayout) -> None:
    """Where a picture can come from, a button each."""
    row = layout.row(align=True)
    row.operator("trellis.open_pictures", text="Picture", icon="FILE_FOLDER")
    row.menu("TRELLIS_MT_images", text="", icon="IMAGE_DATA")
    for name, icon in ONE_CLICK:
        row.operator(name, text="", icon=icon)


def draw_active(layout: bpy.types.UILayout, settings) -> None:
    """The picture that is chosen, with its thumbnail."""
    picture = active_picture(settings)
    if picture is None:
        column = layout.column()
        column.active = False
        column.label(text="Or drop a picture on the view", icon="BLANK1")
        return
    if icon := icon_of_picture(layout, picture):
        layout.template_icon(icon_value=icon, scale=THUMBNAIL)
    row = layout.row(align=True)
    if picture.image is not None:
        row.template_ID(picture, "image", open="image.open")
    else:
        row.prop(picture, "path", text="")
    row.operator("trellis.add_picture", text="", icon="ADD")


def draw_list(layout: bpy.types.UILayout, settings) -> None:
    """Several pictures of the object, and how they work together."""
    count = len(settings.pictures)
    if count < 2:
        return
    reason = settings.why_one_picture()
    row = layout.row()
    row.template_list("TRELLIS_UL_pictures", "", settings, "pictures", settings, "active_picture", rows=3)
    buttons = row.column(align=True)
    buttons.operator("trellis.remove_picture", text="", icon="REMOVE")
    for by, icon in ((-1, "TRIA_UP"), (1, "TRIA_DOWN")):
        buttons.operator("trellis.move_picture", text="", icon=icon).by = by
    row = layout.row()
    row.enabled = not reason
    row.prop(settings, "multi_image", expand=True)
    if reason:
        column = layout.column()
        column.active = False
        column.label(text="Only the first is used by this model", icon="INFO")
