"""Buttons for an asset that is there already."""

import hashlib
import json
from dataclasses import replace

import bpy

from ..faults import Fault
from ..jobs import session
from ..jobs.request_store import unpack_request, with_pictures
from ..jobs.sent_arrays import sent
from ..protocol import Edit, Making
from ..scene.find_asset import ASSET, asset_of_object
from ..scene.latents import GUIDE, PICTURE, read_pictures, read_request
from ..scene.raw_arrays import texture_arrays
from .operators import placement_of
from .widgets import report


class TRELLIS_OT_regenerate_this(bpy.types.Operator):
    """Make the active object's asset again, from the pictures, words and numbers that are kept with it"""

    bl_idname = "trellis.regenerate_this"
    bl_label = "Regenerate This"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = _why_not(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        item = context.object
        holder = asset_of_object(item) or item
        try:
            placement = placement_of(context.scene.trellis, holder.name)
            session.submit(request_of(holder), replace(placement, history=_history_before(holder)))
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


def request_of(holder: bpy.types.ID) -> Making:
    """What the asset was asked for with, pictures and all. Fault where that is not kept with it.

    An edit reads the texture of what it keeps from the asset as it stands, which has kept it.
    """
    request = unpack_request(read_request(holder))
    pictures = read_pictures(holder, GUIDE if isinstance(request, Edit) else PICTURE)
    files = [data for _, data in pictures]
    if [hashlib.sha256(data).hexdigest() for data in files] != json.loads(holder["trellis_picture_hashes"]):
        raise Fault(
            f'The pictures that "{holder.name}" was made from are not kept with it, or were changed: choose '
            "them again and press Generate."
        )
    if isinstance(request, Edit) and request.finishing.texture and isinstance(holder, bpy.types.Collection):
        request = replace(request, arrays={**request.arrays, **sent(texture_arrays(holder))})
    return with_pictures(request, files)


def _history_before(holder: bpy.types.ID) -> str:
    """The asset's history without its last step, which is about to be made again."""
    return json.dumps(json.loads(holder.get("trellis_history", "[]"))[:-1])


def _why_not(context: bpy.types.Context) -> str:
    if context.object is None or ASSET not in context.object:
        return "Select an object that was generated"
    if not session.has_backend():
        return "Install the backend first"
    return ""


CLASSES = (TRELLIS_OT_regenerate_this,)
