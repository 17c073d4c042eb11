"""The buttons of the list of models. Each starts the backend's command and returns at once."""

import bpy

from ...backend_settings import backend_settings
from ...catalogue.entries import entries, find_entry
from ...jobs import session
from ...translations import translated


class ModelOperator(bpy.types.Operator):
    """What all buttons of one model have; not registered itself."""

    bl_options = {"INTERNAL"}

    name: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = why_no_change()
        if reason:
            cls.poll_message_set(reason)
        return not reason

    @property
    def label(self) -> str:
        """What the model is called in the list."""
        entry = find_entry(self.name, entries())
        return entry.label if entry is not None else self.name


def why_no_change() -> str:
    """Why nothing can be done to models now, one sentence; empty where it can."""
    if session.backend_python() is None:
        return "Install the backend first"
    task = session.task("models")
    return "" if task is None or task.done else "Wait for the model that is being worked on, or stop it"


class TRELLIS_OT_download_model(ModelOperator):
    """Download this model, with what it needs. A download that was stopped goes on where it was"""

    bl_idname = "trellis.download_model"
    bl_label = "Download"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.app.online_access:
            cls.poll_message_set("Allow online access first, in the preferences under System")
            return False
        return super().poll(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        mirror = backend_settings().mirror
        words = ("--endpoint", mirror) if mirror else ()
        session.change_models(f"Downloading {self.label}", ("download", self.name, *words))
        return {"FINISHED"}


class TRELLIS_OT_verify_model(ModelOperator):
    """Compare every file of this model with its hash, and its tensors with what they should be"""

    bl_idname = "trellis.verify_model"
    bl_label = "Verify"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.change_models(f"Verifying {self.label}", ("verify", self.name))
        return {"FINISHED"}


class TRELLIS_OT_delete_model(ModelOperator):
    """Delete the files of this model from the models folder"""

    bl_idname = "trellis.delete_model"
    bl_label = "Delete"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=translated(f"Delete {self.label}?"),
            message="Its files go; it can be downloaded again.",
            confirm_text="Delete",
            icon="WARNING",
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.change_models(f"Deleting {self.label}", ("delete", self.name))
        return {"FINISHED"}


class TRELLIS_OT_import_models(ModelOperator):
    """Take in models without a network: the folder of one, or a models folder from another machine"""

    bl_idname = "trellis.import_models"
    bl_label = "Import Folder"

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    link: bpy.props.BoolProperty(
        name="Link",
        description="Leave the files where they are, instead of copying them into the models folder",
        default=False,
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        words = ("--link",) if self.link else ()
        folder = bpy.path.abspath(self.directory)
        session.change_models("Importing", ("import", folder, *words))
        return {"FINISHED"}


CLASSES = (
    TRELLIS_OT_download_model,
    TRELLIS_OT_verify_model,
    TRELLIS_OT_delete_model,
    TRELLIS_OT_import_models,
)
