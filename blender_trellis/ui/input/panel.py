"""The input part of the main panel. Draws what the settings hold, and changes nothing."""

import bpy

from ...jobs.cut_out import Asked
from ..thumbnails import icon_of_picture, icon_of_pixels
from ..widgets import draw_text
from .cut_out import shown_cut_out
from .pictures import active_picture
from .sources import ONE_CLICK

THUMBNAIL = 6.0


def draw_input(layout: bpy.types.UILayout, settings, letters: int) -> None:
    """Sentence and pictures; what the model does not take is grey, says so, and stands below the other."""
    takes = settings.takes()
    if "text" in takes:
        draw_sentence(layout, settings, True)
    draw_pictures(layout, settings, "pictures" in takes, letters)
    if "text" not in takes:
        draw_sentence(layout, settings, False)


def draw_pictures(layout: bpy.types.UILayout, settings, is_taken: bool, letters: int) -> None:
    """Where pictures come from, and those that are chosen; a grey line where the model takes none."""
    column = layout.column()
    column.enabled = is_taken
    column.use_property_decorate = False
    if not is_taken:
        column.label(text="This model takes no pictures", icon="IMAGE_DATA")
        return
    draw_sources(column)
    draw_active(column, settings, letters)
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


def draw_active(layout: bpy.types.UILayout, settings, letters: int) -> None:
    """The picture that is chosen, with its thumbnail."""
    picture = active_picture(settings)
    if picture is None:
        column = layout.column()
        column.active = False
        column.label(text="Or drop a picture on the view", icon="BLANK1")
        return
    row = layout.row(align=True)
    if icon := icon_of_picture(layout, picture):
        row.template_icon(icon_value=icon, scale=THUMBNAIL)
    asked = shown_cut_out(settings)
    if asked is not None:
        draw_cut_out(row, layout, asked, letters)
    row = layout.row(align=True)
    if picture.image is not None:
        row.template_ID(picture, "image", open="image.open")
    else:
        row.prop(picture, "path", text="")
    row.operator("trellis.add_picture", text="", icon="ADD")
    row = layout.row(align=True)
    row.use_property_split = True
    row.prop(settings, "background")
    row.prop(settings, "shows_cut_out", text="", icon="HIDE_OFF" if settings.shows_cut_out else "HIDE_ON")
    if settings.shows_cut_out:
        row.operator("trellis.refresh_cut_out", text="", icon="FILE_REFRESH")


def draw_cut_out(beside: bpy.types.UILayout, below: bpy.types.UILayout, asked: Asked, letters: int) -> None:
    """What the model will see, or how far that has come, beside the picture; what is wrong with it below."""
    if asked.pixels is not None:
        beside.template_icon(icon_value=icon_of_pixels(asked.job, asked.pixels), scale=THUMBNAIL)
    elif asked.fault:
        draw_text(below, asked.fault, "ERROR", letters)
    elif not asked.ended:
        beside.label(text="Cutting out…", icon="TIME")


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
