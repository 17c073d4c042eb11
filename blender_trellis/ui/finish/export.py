"""The button that saves an asset's mesh for other programs."""

from pathlib import Path

import bpy
from bpy_extras.io_utils import ExportHelper

from ...faults import Fault
from ...scene.files.kinds import IMAGES, KINDS
from ...scene.files.write import write_asset
from ...scene.find_asset import own_part
from ..widgets import in_object_mode, report


class TRELLIS_OT_export_asset(bpy.types.Operator, ExportHelper):
    """Save the asset's mesh with its texture to a file for another program"""

    bl_idname = "trellis.export_asset"
    bl_label = "Export Asset"

    kind: bpy.props.EnumProperty(
        name="File",
        description="What kind of file is saved",
        items=tuple((name, one.label, one.description) for name, one in KINDS.items()),
    )
    images: bpy.props.EnumProperty(
        name="Images",
        description="How the texture is stored in a glTF file",
        items=tuple((name, label, "") for name, label in IMAGES.items()),
    )
    filter_glob: bpy.props.StringProperty(
        default=";".join(f"*{one.suffix}" for one in KINDS.values()), options={"HIDDEN"}
    )

    @property
    def filename_ext(self) -> str:
        """The ending of the kind that is chosen."""
        return KINDS[self.kind].suffix

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if _mesh_of(context) is None:
            cls.poll_message_set("Select a generated asset that has a mesh")
            return False
        return in_object_mode(cls, context)

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.prop(self, "kind")
        if self.kind in ("GLB", "GLTF"):
            self.layout.prop(self, "images")

    def execute(self, context: bpy.types.Context) -> set[str]:
        item = _mesh_of(context)
        assert item is not None, "the operator's poll asks for it"
        path = Path(self.filepath)
        if path.suffix.lower() != self.filename_ext:
            path = path.with_name(path.name + self.filename_ext)
        try:
            files = write_asset(item, path, self.kind, self.images)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        report(self, "INFO", f"Saved {', '.join(file.name for file in files)}")
        return {"FINISHED"}


def _mesh_of(context: bpy.types.Context) -> bpy.types.Object | None:
    return own_part(context.object, "finished") or own_part(context.object, "mesh")


CLASSES = (TRELLIS_OT_export_asset,)
