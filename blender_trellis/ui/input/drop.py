"""Picture files dropped on a 3D view: taken as the picture, or made into an object at once."""

from pathlib import Path

import bpy

from ...protocol.pictures import PICTURE_SUFFIXES
from ...scene.export import operator_reason
from ..widgets import report
from .pictures import NO_PICTURES, put_files


class DropOperator(bpy.types.Operator):
    """What both have; not registered itself."""

    bl_options = {"INTERNAL", "UNDO"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"}
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        files = [
            Path(self.directory) / file.name
            for file in self.files
            if Path(file.name).suffix.lower() in PICTURE_SUFFIXES
        ]
        if not files:
            report(self, "ERROR", "None of these files is a picture: drop PNG, JPEG or WebP files.")
            return {"CANCELLED"}
        put_files(context.scene.trellis, files)
        _show_tab(context.area)
        return {"FINISHED"}


class TRELLIS_OT_drop_pictures(DropOperator):
    """Use the dropped pictures: one object, seen once or from several sides"""

    bl_idname = "trellis.drop_pictures"
    bl_label = "Use as Picture of 3D Object"


class TRELLIS_OT_drop_and_generate(DropOperator):
    """Make a 3D object of the dropped pictures"""

    bl_idname = "trellis.drop_and_generate"
    bl_label = "Generate 3D Object"

    def execute(self, context: bpy.types.Context) -> set[str]:
        taken = super().execute(context)
        if taken != {"FINISHED"}:
            return taken
        if "pictures" not in context.scene.trellis.takes():
            report(self, "WARNING", NO_PICTURES)
            return taken
        if not bpy.ops.trellis.generate.poll():
            report(self, "WARNING", "The picture is taken; the Generate button says what is still missing.")
            return taken
        try:
            return bpy.ops.trellis.generate()
        except RuntimeError as error:  # what it reports comes from a nested operator as this
            report(self, "WARNING", operator_reason(error))
            return taken


def _show_tab(area: bpy.types.Area | None) -> None:
    """Opens the sidebar, where the picture is now."""
    if area is not None and area.type == "VIEW_3D":
        area.spaces.active.show_region_ui = True


class PictureHandler(bpy.types.FileHandler):
    """What both have; not registered itself."""

    bl_file_extensions = ";".join(PICTURE_SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


class TRELLIS_FH_generate(PictureHandler):
    """Drops that start a job."""

    bl_idname = "TRELLIS_FH_generate"
    bl_label = "Generate 3D Object"
    bl_import_operator = "trellis.drop_and_generate"


class TRELLIS_FH_picture(PictureHandler):
    """Drops that are only taken."""

    bl_idname = "TRELLIS_FH_picture"
    bl_label = "Use as Picture of 3D Object"
    bl_import_operator = "trellis.drop_pictures"


CLASSES = (
    TRELLIS_OT_drop_pictures,
    TRELLIS_OT_drop_and_generate,
    TRELLIS_FH_generate,
    TRELLIS_FH_picture,
)
