"""Radiance fields that the engine wrote, brought into the scene as volumes."""

from pathlib import Path

import bpy
from bpy_extras.io_utils import ImportHelper

from ...faults import Fault
from ...scene.export import atomic, check_target
from ...scene.volumes.object import volume_object
from ...scene.volumes.vdb import source_of, write_vdb
from ...volumes.field import SUFFIX, read_field
from ..widgets import in_object_mode, report


class TRELLIS_OT_import_radiance_field(bpy.types.Operator, ImportHelper):
    """Load a radiance field as a volume for Cycles; an OpenVDB file is saved beside it"""

    bl_idname = "trellis.import_radiance_field"
    bl_label = "Import Radiance Field"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: bpy.props.StringProperty(default="*.safetensors", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the entry is grey, where it is."""
        return in_object_mode(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = Path(self.filepath)
        name = path.name.removesuffix(SUFFIX).removesuffix(".safetensors")
        target = path.with_name(f"{name}.vdb")
        try:
            check_target(target)
            field = read_field(path)
            if target.exists() and source_of(target) != path.name:
                raise Fault(f'"{target}" was not made of this radiance field: rename it or move it away.')
            with atomic(target) as part:
                write_vdb(part, field, path.name)
        except (Fault, OSError) as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        volume_object(name, target, context)
        if context.scene.view_settings.view_transform != "Standard":
            report(self, "INFO", "The view transform Standard shows the field's own colors")
        return {"FINISHED"}


def begin() -> None:
    """Into Blender's own File menu."""
    bpy.types.TOPBAR_MT_file_import.append(_draw_import)


def end() -> None:
    """What `begin` added."""
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import)


def _draw_import(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator("trellis.import_radiance_field", text="TRELLIS Radiance Field (.safetensors)")


CLASSES = (TRELLIS_OT_import_radiance_field,)
