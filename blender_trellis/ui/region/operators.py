"""Regions of an asset: adding them, painting the change, and the button that regenerates what they hold."""

from dataclasses import replace

import bpy

from ...backend_settings import backend_settings
from ...editing.edit_request import edit_request
from ...editing.paint_view import render_to_paint
from ...editing.region_objects import (
    add_box,
    asset_of,
    is_region,
    read_region,
    release,
    selected_bounds,
    shape_of,
    use_as_region,
)
from ...faults import Fault
from ...jobs import session
from ...jobs.placement import Placement
from ...jobs.sent_arrays import sent
from ...scene.find_asset import (
    LINKED,
    asset_id,
    formats_of,
    is_local,
    members,
    own_asset,
    part,
)
from ...scene.latents import read_latents
from ...scene.raw_arrays import texture_arrays
from ...scene.replace import changed_by_hand
from ...scene.window import asset_to_change
from ..widgets import none_in_edit_mode, report
from .drawing import taken_by
from .guide import guide_of
from .reasons import NO_REGION, why_not_now
from .settings import PAINTED


def _has_asset(operator: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    collection = asset_of(context.object, context.scene)
    if collection is None:
        operator.poll_message_set("Select an asset, or one of its regions")
        return False
    if not is_local(collection):
        operator.poll_message_set(LINKED)
        return False
    return True


def _asset(context: bpy.types.Context) -> bpy.types.Collection:
    collection = own_asset(context.object) or asset_of(context.object, context.scene)
    assert collection is not None, "the operator's poll asks for it"
    return collection


class TRELLIS_OT_add_region(bpy.types.Operator):
    """Put a box around what is selected of the asset; what lies in it can be regenerated"""

    bl_idname = "trellis.add_region"
    bl_label = "Add Region"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _has_asset(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        collection = _asset(context)
        edited = next((one for one in members(collection) if one.mode == "EDIT"), None)
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        try:
            resolution = read_latents(collection).resolution
            box = add_box(collection, *selected_bounds(collection, resolution, edited))
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        context.view_layer.update()
        for item in context.selected_objects:
            item.select_set(False)
        box.select_set(True)
        context.view_layer.objects.active = box
        return {"FINISHED"}


class TRELLIS_OT_use_as_region(bpy.types.Operator):
    """Make the selected closed meshes regions of the asset, or ordinary objects again"""

    bl_idname = "trellis.use_as_region"
    bl_label = "Use as Region"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode != "OBJECT" or not (_released(context) or _chosen_asset(context)[1]):
            cls.poll_message_set("Select a closed mesh together with an asset, or a region to undo that")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        released = _released(context)
        for item in released:
            release(item)
        if released:
            return {"FINISHED"}
        collection, meshes = _chosen_asset(context)
        try:
            shape_of(read_region(item, collection) for item in meshes)  # all of them are fit, or none is used
            for item in meshes:
                use_as_region(item, collection)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


def _released(context: bpy.types.Context) -> list[bpy.types.Object]:
    return [item for item in context.selected_objects if is_region(item) and item.type == "MESH"]


def _chosen_asset(
    context: bpy.types.Context,
) -> tuple[bpy.types.Collection | None, list[bpy.types.Object]]:
    """The one asset among the selected objects, and the selected meshes that belong to none."""
    owners = {item: asset_of(item, context.scene) for item in context.selected_objects}
    assets = {one.session_uid: one for one in owners.values() if one is not None}
    meshes = [item for item, owner in owners.items() if owner is None and item.type == "MESH"]
    return (next(iter(assets.values())), meshes) if len(assets) == 1 else (None, [])


class TRELLIS_OT_paint_change(bpy.types.Operator):
    """Make a picture of the asset, as its own picture shows it, and open it to be painted over"""

    bl_idname = "trellis.paint_change"
    bl_label = "Paint the Change"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if not _has_asset(cls, context):
            return False
        collection = asset_of(context.object, context.scene)
        return collection is None or none_in_edit_mode(cls, members(collection))

    def execute(self, context: bpy.types.Context) -> set[str]:
        collection, settings = _asset(context), context.scene.trellis.region
        mesh = part(collection, "mesh")
        if mesh is None:
            report(
                self, "ERROR", f'"{collection.name}" has no mesh to make a picture of: use a picture file.'
            )
            return {"CANCELLED"}
        settings.painted = render_to_paint(mesh.data, f"{collection.name} Painting", settings.view_height)
        settings.guide = PAINTED
        _open_to_paint(context, settings.painted)
        return {"FINISHED"}


def _open_to_paint(context: bpy.types.Context, image: bpy.types.Image) -> None:
    """Shows the image in an image editor, beside the 3D view where there is none yet."""
    area = next((one for one in context.screen.areas if one.type == "IMAGE_EDITOR"), None)
    if area is None and context.area is None:  # called without a window: there is nothing to paint in
        return
    if area is None:
        known = set(context.screen.areas)
        bpy.ops.screen.area_split(direction="VERTICAL", factor=0.5)
        area = next((one for one in context.screen.areas if one not in known), context.area)
        area.type = "IMAGE_EDITOR"
    space = area.spaces.active
    space.image, space.ui_mode = image, "PAINT"


class TRELLIS_OT_regenerate_region(bpy.types.Operator):
    """Make the part of the asset that lies in its regions anew and keep the rest exactly as it is"""

    bl_idname = "trellis.regenerate_region"
    bl_label = "Regenerate Region"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = why_not_now(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks first where the edit would undo what was done by hand."""
        lost = changed_by_hand(_asset(context))
        if not lost:
            return self.execute(context)
        asked = {"title": self.bl_label, "message": lost, "icon": "WARNING"}
        return context.window_manager.invoke_confirm(self, event, **asked)

    def execute(self, context: bpy.types.Context) -> set[str]:
        collection = asset_to_change(context.object, asset_of(context.object, context.scene))
        assert collection is not None, "the operator's poll asks for it"
        settings = context.scene.trellis.region
        try:
            taken = taken_by(collection, context.view_layer)
            if taken is None:  # of a copy whose original has a region
                raise Fault(NO_REGION)
            settings.draw_seed()
            info = session.model_info(taken.latents.model)
            request = edit_request(
                taken.latents,
                taken.shape,
                guide_of(collection, settings),
                settings.choices(info),
                formats_of(collection),
                backend_settings(),
            )
            finishing = context.scene.trellis.finish.to_finishing()
            arrays = {**request.arrays, **sent(texture_arrays(collection) if finishing.texture else {})}
            finished = replace(request, finishing=finishing, arrays=arrays)
            session.submit(
                finished, Placement(collection.name, asset_id(collection), keeps_former=settings.keeps_former)
            )
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    TRELLIS_OT_add_region,
    TRELLIS_OT_use_as_region,
    TRELLIS_OT_paint_change,
    TRELLIS_OT_regenerate_region,
)
