"""The button that marks an asset that is there."""

import bpy

from ...meshes.thumbnail import thumbnail
from ...scene.asset_marking import mark_asset
from ...scene.find_asset import LINKED, asset_of_object, is_local, members
from ..widgets import none_in_edit_mode


class TRELLIS_OT_mark_asset(bpy.types.Operator):
    """Show the selected result in the Asset Browser, with a picture of it and what is set here"""

    bl_idname = "trellis.mark_asset"
    bl_label = "Mark Selected"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        collection = asset_of_object(context.object) if context.object is not None else None
        if collection is None or not is_local(collection):
            cls.poll_message_set("Select a result first" if collection is None else LINKED)
            return False
        return none_in_edit_mode(cls, members(collection))

    def execute(self, context: bpy.types.Context) -> set[str]:
        collection = asset_of_object(context.object)
        mark_asset(collection, context.scene.trellis.marks.to_marks(), thumbnail(collection))
        return {"FINISHED"}


CLASSES = (TRELLIS_OT_mark_asset,)
