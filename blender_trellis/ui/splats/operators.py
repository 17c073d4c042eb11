"""What can be done with objects of Gaussians: files in and out, and edits that keep what is seen."""

from pathlib import Path

import bpy
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ...faults import Fault
from ...scene.display.shading import suit_view
from ...scene.export import atomic, check_target
from ...scene.find_asset import LINKED, is_local
from ...scene.gaussians.edit import crop, import_splats, join, splats_in_world
from ...scene.gaussians.object import has_modifiers_before, is_gaussian
from ...scene.gaussians.settings import BOUNCES_RAISED, raise_bounces
from ...scene.window import true_colors
from ...splats.files import READERS, TO_FILE, WRITERS, read_splats
from ...splats.values import joined
from ..widgets import in_object_mode, report


class SplatOperator(bpy.types.Operator):
    """Needs objects of Gaussians among the selected ones; not registered itself."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if not in_object_mode(cls, context):
            return False
        if not _selected(context):
            cls.poll_message_set("Select an object of Gaussians")
            return False
        return True


class TRELLIS_OT_import_splats(bpy.types.Operator, ImportHelper):
    """Load Gaussian splats from a file: 3DGS or SuperSplat .ply, .splat or .spz"""

    bl_idname = "trellis.import_splats"
    bl_label = "Import Gaussian Splats"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: bpy.props.StringProperty(default=";".join(f"*{end}" for end in READERS), options={"HIDDEN"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"}
    )
    up: bpy.props.EnumProperty(
        name="Up in the File",
        items=(
            ("NEGATIVE_Y", "-Y", "As most tools write these files"),
            ("Y", "Y", "Files that were turned upright for web viewers"),
            ("Z", "Z", "Files in Blender's own frame"),
        ),
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the entry is grey, where it is."""
        return in_object_mode(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        paths = [Path(self.directory, file.name) for file in self.files if file.name] or [Path(self.filepath)]
        made = []
        for path in paths:
            try:
                splats, left_out = read_splats(path)
            except Fault as fault:
                report(self, "ERROR", str(fault))
                continue
            made.append(import_splats(path.stem, splats, self.up, context))
            _report_left_out(self, path, left_out)
        if not made:
            return {"CANCELLED"}
        suit_view(context, made)
        if raise_bounces(context.scene):
            report(self, "INFO", BOUNCES_RAISED)
        if told := true_colors():
            report(self, "INFO", told)
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """A dropped file brings its path along."""
        if self.properties.is_property_set("filepath") or self.files:  # else it may be the last import's
            return self.execute(context)
        return super().invoke(context, event)


class TRELLIS_OT_export_splats(SplatOperator, ExportHelper):
    """Save the selected Gaussians, as they stand in the scene, to one file"""

    bl_idname = "trellis.export_splats"
    bl_label = "Export Gaussian Splats"
    bl_options = {"REGISTER"}

    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})
    layout: bpy.props.EnumProperty(
        name="Layout",
        items=(
            ("PLY", "3DGS", "Exact values, for every tool that knows splats"),
            ("PACKED", "SuperSplat Compressed", "About a quarter of the size, rounded values"),
        ),
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = Path(self.filepath)
        try:
            check_target(path)
            items = _selected(context)
            splats = joined([splats_in_world(item) for item in items]).moved(TO_FILE)
            if not len(splats):
                raise Fault("The selected objects hold no splats.")
            with atomic(path) as part:
                WRITERS[self.layout](part, splats)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        report(self, "INFO", f"{len(splats):,} splats saved")
        if any(map(has_modifiers_before, items)):
            report(
                self, "WARNING", "Saved without the modifiers before Splats: apply them first to have them"
            )
        _report_left_out(self, path, sum(len(item.data.vertices) for item in items) - len(splats))
        return {"FINISHED"}


def _may_change(operator: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    """Whether the selected Gaussians may be changed, for the poll of an operator, which says so else."""
    items = _selected(context)
    if not all(is_local(item) and is_local(item.data) for item in items):
        operator.poll_message_set(LINKED)
        return False
    if any(item.data.shape_keys for item in items):
        operator.poll_message_set("Gaussians with shape keys keep their splats: delete the shape keys first")
        return False
    return True


class TRELLIS_OT_crop_splats(SplatOperator):
    """Delete the splats of the other selected objects outside the active object's box, or inside it"""

    bl_idname = "trellis.crop_splats"
    bl_label = "Crop Gaussians by Box"

    inside: bpy.props.BoolProperty(name="Delete Inside", description="Keep what lies outside the box")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if not super().poll(context) or not _may_change(cls, context):
            return False
        box = context.object if context.object in context.selected_objects else None
        if box is None or box.type not in ("EMPTY", "MESH") or is_gaussian(box):
            cls.poll_message_set("Make a box active: an empty, or a mesh around what shall stay")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            count = crop(_selected(context), context.object, self.inside)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        report(self, "INFO", f"{count:,} splats deleted")
        return {"FINISHED"}


class TRELLIS_OT_join_splats(SplatOperator):
    """Put the splats of the selected objects into the active one"""

    bl_idname = "trellis.join_splats"
    bl_label = "Join Gaussians"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if not super().poll(context) or not _may_change(cls, context):
            return False
        if len(_selected(context)) < 2 or context.object not in _selected(context):
            cls.poll_message_set("Select several objects of Gaussians, the one that stays last")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        join(context.object, [item for item in _selected(context) if item != context.object])
        return {"FINISHED"}


class TRELLIS_MT_splats(bpy.types.Menu):
    """Edits of Gaussians, in the Object menu."""

    bl_label = "Gaussians"

    def draw(self, context: bpy.types.Context) -> None:
        for name in ("crop_splats", "join_splats"):
            self.layout.operator(f"trellis.{name}")


class TRELLIS_FH_splats(bpy.types.FileHandler):
    """Files of splats that are dropped on a 3D view."""

    bl_idname = "TRELLIS_FH_splats"
    bl_label = "Gaussian Splats"
    bl_import_operator = TRELLIS_OT_import_splats.bl_idname
    bl_file_extensions = ";".join(READERS)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """In 3D views."""
        return context.area is not None and context.area.type == "VIEW_3D"


def add_menus() -> None:
    """Into Blender's own File and Object menus."""
    for menu, draw in _entries():
        menu.append(draw)


def remove_menus() -> None:
    """What `add_menus` added."""
    for menu, draw in _entries():
        menu.remove(draw)


def _entries() -> tuple[tuple[type, object], ...]:
    types = bpy.types
    return (
        (types.TOPBAR_MT_file_import, _draw_import),
        (types.TOPBAR_MT_file_export, _draw_export),
        (types.VIEW3D_MT_object, _draw_edits),
    )


def _draw_import(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator("trellis.import_splats", text="Gaussian Splats (.ply/.splat/.spz)")


def _draw_export(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator("trellis.export_splats", text="Gaussian Splats (.ply)")


def _draw_edits(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    if any(is_gaussian(item) for item in context.selected_objects):
        menu.layout.menu("TRELLIS_MT_splats")


def _report_left_out(operator: bpy.types.Operator, path: Path, left_out: int) -> None:
    if left_out:
        report(operator, "WARNING", f"{path.name}: {left_out:,} splats without finite values are left out")


def _selected(context: bpy.types.Context) -> list[bpy.types.Object]:
    return [item for item in context.selected_objects if is_gaussian(item)]


CLASSES = (
    TRELLIS_OT_import_splats,
    TRELLIS_OT_export_splats,
    TRELLIS_OT_crop_splats,
    TRELLIS_OT_join_splats,
    TRELLIS_MT_splats,
    TRELLIS_FH_splats,
)
