"""The button that finishes an asset's mesh anew."""

import bpy

from ...backend_settings import backend_settings
from ...faults import Fault
from ...jobs import session
from ...jobs.placement import Placement
from ...jobs.sent_arrays import sent, sent_pictures
from ...protocol import Finish
from ...scene.asset import fingerprint
from ...scene.find_asset import (
    ASSET,
    IN_EDIT_MODE,
    LINKED,
    asset_id,
    asset_of_object,
    is_in_edit_mode,
    is_local,
    members,
    own_part,
    part,
)
from ...scene.latents import read_latents, read_pictures
from ...scene.raw_arrays import gaussian_arrays, mesh_arrays
from ...scene.replace import background_of
from ...scene.window import asset_to_change
from ..widgets import report


class TRELLIS_OT_finish(bpy.types.Operator):
    """Make the asset's mesh ready to be used: closed, within a budget of faces, with a texture"""

    bl_idname = "trellis.finish"
    bl_label = "Finish Asset"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = _why_not(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        collection = asset_to_change(context.object)
        assert collection is not None, "the operator's poll asks for it"
        try:
            latents = read_latents(collection)
            request = finish_request(collection, latents.model, context)
            base = fingerprint(latents.arrays)
            session.submit(
                request, Placement(collection.name, finishes=asset_id(collection), finished_from=base)
            )
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


def finish_request(collection: bpy.types.Collection, model: str, context: bpy.types.Context) -> Finish:
    """The message that asks for it, with the asset's raw mesh, Gaussians and own pictures. Raises Fault.

    model: the one that made the asset.
    """
    item, splats = part(collection, "mesh"), part(collection, "gaussian")
    assert item is not None, "the operator's poll asks for it"
    backend, pictures = backend_settings(), read_pictures(collection)
    arrays = mesh_arrays(item.data) | (gaussian_arrays(splats) if splats is not None else {})
    return Finish(
        job="",
        model=model,
        device=backend.device,
        precision=backend.precision,
        engine=backend.engine,
        memory=backend.memory,
        formats=("mesh",),
        finishing=context.scene.trellis.finish.to_finishing(),
        arrays=sent(arrays) | sent_pictures(data for _, data in pictures),
        picture_names=tuple(name for name, _ in pictures),
        background=background_of(collection),
    )


def _why_not(context: bpy.types.Context) -> str:
    collection = asset_of_object(context.object) if context.object is not None else None
    if collection is None or own_part(context.object, "mesh") is None:
        return "Select a generated asset that has a mesh"
    if not is_local(collection):
        return LINKED
    if session.is_being_edited(str(collection.get(ASSET))):
        return "This asset is being changed: wait for that, or cancel it"
    if is_in_edit_mode((context.object, *members(collection))):
        return IN_EDIT_MODE
    if not session.has_backend():
        return "Install the backend first"
    settings = context.scene.trellis.finish
    if settings.preset == "raw" and settings.texture == "0":
        return "Choose a mesh that is not raw, or a texture"
    return ""


CLASSES = (TRELLIS_OT_finish,)
