"""The buttons that take a picture from somewhere, each with one click."""

from pathlib import Path

import bpy

from ...capture.clipboard import from_clipboard
from ...capture.render import last_render
from ...capture.viewport import viewport_picture
from ...faults import Fault
from ..widgets import report
from .pictures import put_picture


class PictureOperator(bpy.types.Operator):
    """What all of them have; not registered itself."""

    bl_options = {"INTERNAL", "UNDO"}

    add: bpy.props.BoolProperty(
        name="Add",
        description="Add it to the list instead of taking it in place of the picture there",
        default=False,
        options={"HIDDEN", "SKIP_SAVE"},
    )

    def take(self, context: bpy.types.Context) -> str | Path | bpy.types.Image:
        """The picture. Raises Fault."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            put_picture(context.scene.trellis, self.take(context), self.add)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_open_pictures(bpy.types.Operator):
    """Choose a picture file, or several that show the same object"""

    bl_idname = "trellis.open_pictures"
    bl_label = "Open Picture"
    bl_options = {"INTERNAL", "UNDO"}

    add: bpy.props.BoolProperty(default=False, options={"HIDDEN", "SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"}
    )
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        names = [file.name for file in self.files if file.name]
        if not names:
            report(self, "ERROR", "No picture is chosen: choose a picture file.")
            return {"CANCELLED"}
        for number, name in enumerate(names):
            put_picture(context.scene.trellis, Path(self.directory) / name, self.add or number > 0)
        return {"FINISHED"}


class TRELLIS_OT_use_image(PictureOperator):
    """Use this image of the Blender file, as it is shown, with all that is painted on it"""

    bl_idname = "trellis.use_image"
    bl_label = "Use Image"

    image: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def take(self, context: bpy.types.Context) -> bpy.types.Image:
        image = bpy.data.images.get(self.image)
        if image is None:
            raise Fault(f'There is no image "{self.image}" any more: choose another one.')
        return image


class TRELLIS_OT_paste_picture(PictureOperator):
    """Use the picture on the clipboard: one that was copied, or the path of a picture file"""

    bl_idname = "trellis.paste_picture"
    bl_label = "From Clipboard"

    def take(self, context: bpy.types.Context) -> Path | bpy.types.Image:
        return from_clipboard(context)


class TRELLIS_OT_use_render(PictureOperator):
    """Use the last render, with the colors that it is shown with"""

    bl_idname = "trellis.use_render"
    bl_label = "From Last Render"

    def take(self, context: bpy.types.Context) -> bpy.types.Image:
        return last_render(context.scene)


class TRELLIS_OT_use_viewport(PictureOperator):
    """Use what the 3D view shows, without grid and outlines: the selected objects, or all where none is"""

    bl_idname = "trellis.use_viewport"
    bl_label = "From Viewport"

    def take(self, context: bpy.types.Context) -> bpy.types.Image:
        return viewport_picture(context, selected_only=bool(context.selected_objects))


class TRELLIS_MT_images(bpy.types.Menu):
    """The images of the .blend."""

    bl_label = "Image"
    bl_description = "Use an image that is open in this Blender file"

    add = False

    def draw(self, context: bpy.types.Context) -> None:
        shown = [one for one in bpy.data.images if one.type not in ("RENDER_RESULT", "COMPOSITING")]
        if not shown:
            self.layout.label(text="No image is open in this file")
        for image in shown:
            button = self.layout.operator(
                "trellis.use_image", text=image.name, icon_value=self.layout.icon(image), translate=False
            )
            button.image, button.add = image.name, self.add


class TRELLIS_MT_images_to_add(TRELLIS_MT_images, bpy.types.Menu):
    """The same, to add one."""

    add = True


class TRELLIS_MT_add_picture(bpy.types.Menu):
    """Where a further picture comes from."""

    bl_label = "Add Picture"

    def draw(self, context: bpy.types.Context) -> None:
        self.layout.operator_context = "INVOKE_DEFAULT"
        self.layout.operator("trellis.open_pictures", text="File…", icon="FILE_FOLDER").add = True
        self.layout.menu("TRELLIS_MT_images_to_add", icon="IMAGE_DATA")
        for name, icon in ONE_CLICK:
            self.layout.operator(name, icon=icon).add = True


ONE_CLICK = (
    ("trellis.paste_picture", "PASTEDOWN"),
    ("trellis.use_render", "RENDER_RESULT"),
    ("trellis.use_viewport", "VIEW3D"),
)

CLASSES = (
    TRELLIS_OT_open_pictures,
    TRELLIS_OT_use_image,
    TRELLIS_OT_paste_picture,
    TRELLIS_OT_use_render,
    TRELLIS_OT_use_viewport,
    TRELLIS_MT_images,
    TRELLIS_MT_images_to_add,
    TRELLIS_MT_add_picture,
)
