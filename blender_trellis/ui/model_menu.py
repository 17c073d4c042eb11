"""Which model: a menu of those that are known, and of a folder of one's own."""

from pathlib import Path

import bpy

from ..jobs import session
from ..protocol import ModelInfo
from .widgets import report

TAKES = {("pictures",): "Picture", ("text",): "Text", ("pictures", "text"): "Picture or Text"}


def label_of(model: str) -> str:
    """What the menu's button says: the model's name, of a folder its last part."""
    info = session.model_info(model)
    name = Path(model).name if info is None and ("/" in model or "\\" in model) else model
    return _with_input(name, info)


def _with_input(name: str, info: ModelInfo | None) -> str:
    takes = TAKES.get(tuple(sorted(info.takes)), "") if info is not None else ""
    return f"{name} ({takes})" if takes else name or "Choose a Model"


class TRELLIS_OT_choose_model(bpy.types.Operator):
    """Make objects with this model"""

    bl_idname = "trellis.choose_model"
    bl_label = "Choose Model"
    bl_options = {"INTERNAL", "UNDO"}

    model: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.trellis.model = self.model
        return {"FINISHED"}


class TRELLIS_OT_choose_model_folder(bpy.types.Operator):
    """Choose the folder of a model that was downloaded or trained: the one that holds pipeline.json"""

    bl_idname = "trellis.choose_model_folder"
    bl_label = "Choose Folder"
    bl_options = {"INTERNAL", "UNDO"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        folder = Path(self.directory)
        if not (folder / "pipeline.json").is_file():
            report(self, "ERROR", f'"{folder}" is no model: choose the folder that holds pipeline.json.')
            return {"CANCELLED"}
        context.scene.trellis.model = str(folder)
        return {"FINISHED"}


class TRELLIS_MT_models(bpy.types.Menu):
    """The models that lie on this machine."""

    bl_label = "Model"
    bl_description = "What makes the object: the bundled model, or one that was downloaded"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        for info in session.known_models():
            icon = "FONT_DATA" if info.takes == ("text",) else "IMAGE_DATA"
            layout.operator(
                "trellis.choose_model", text=_with_input(info.name, info), icon=icon
            ).model = info.name
        layout.separator()
        layout.operator("trellis.choose_model_folder", text="Folder…", icon="FILE_FOLDER")


CLASSES = (TRELLIS_OT_choose_model, TRELLIS_OT_choose_model_folder, TRELLIS_MT_models)
