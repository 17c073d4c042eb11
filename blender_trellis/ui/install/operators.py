"""The buttons that install, mend and remove the backend."""

import sys

import bpy

from ...backend_settings import BackendSettings, backend_settings
from ...extension_paths import user_folder
from ...faults import Fault
from ...install.accelerator import in_words, size_of
from ...install.backend_install import LOG, Wanted
from ...jobs import session
from ...translations import translated
from ..widgets import report


def wanted() -> Wanted:
    """What the preferences ask to be installed."""
    chosen: BackendSettings = backend_settings()
    return Wanted(chosen.accelerator, "" if chosen.own_python else sys.executable, chosen.wheels)


def needs(asked: Wanted) -> str:
    """What an installation downloads and takes, in words."""
    size = size_of(asked.build, own_python=not asked.base_python)
    card = "an NVIDIA graphics card" if asked.build == "cuda" else "the processor"
    if asked.wheels:
        return f"For {card}: takes about {in_words(size.disk)} of disk"
    return f"For {card}: downloads about {in_words(size.download)}, takes {in_words(size.disk)} of disk"


def why_not_install() -> str:
    """Why nothing can be installed now, "" where it can."""
    task = session.task("install")
    if task is not None and not task.done:
        return "It is being installed"
    if not bpy.app.online_access and not backend_settings().wheels:
        return "Allow online access first, in the preferences under System"
    return ""


def why_not_remove() -> str:
    """Why the backend cannot be removed now, "" where it can."""
    for name, reason in (
        ("install", "It is being installed or removed"),
        ("models", "Wait for the model that is being worked on, or stop it"),
        ("self-test", "Wait for the self-test, or stop it"),
    ):
        task = session.task(name)
        if task is not None and not task.done:
            return reason
    return ""


class TRELLIS_OT_install_backend(bpy.types.Operator):
    """Download the packages that compute the models into the extension's own folder, or mend what is there"""

    bl_idname = "trellis.install_backend"
    bl_label = "Install Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Online access is the user's to give."""
        reason = why_not_install()
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Says how much it is first."""
        asked = wanted()
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Install the backend?",
            message=translated(needs(asked)),
            confirm_text="Install" if asked.wheels else "Download",
            icon="NONE",
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session.install_backend(wanted())
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_remove_backend(bpy.types.Operator):
    """Delete the backend's packages and what was downloaded for them; models and settings stay"""

    bl_idname = "trellis.remove_backend"
    bl_label = "Remove Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Not under what runs in it."""
        reason = why_not_remove()
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks first."""
        return context.window_manager.invoke_confirm(
            self,
            event,
            title="Remove the backend?",
            message=translated(f"About {in_words(size_of(wanted().build).disk)} of disk become free"),
            confirm_text="Remove",
            icon="NONE",
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.remove_backend()
        return {"FINISHED"}


class TRELLIS_OT_copy_outcome(bpy.types.Operator):
    """Copy this message, with the last lines of the log, to paste it into a report"""

    bl_idname = "trellis.copy_outcome"
    bl_label = "Copy"
    bl_options = {"INTERNAL"}

    name: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        task = session.task(self.name)
        if task is not None and task.error is not None:
            lines = getattr(task.error, "log", ())
            context.window_manager.clipboard = "\n".join((str(task.error), *lines))
        return {"FINISHED"}


class TRELLIS_OT_open_install_log(bpy.types.Operator):
    """Open all that the installation has said, in the program that shows text files"""

    bl_idname = "trellis.open_install_log"
    bl_label = "Open Log"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not (user_folder() / LOG).is_file():
            cls.poll_message_set("Nothing has been installed yet, so there is no log")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        bpy.ops.wm.path_open(filepath=str(user_folder() / LOG))
        return {"FINISHED"}


CLASSES = (
    TRELLIS_OT_install_backend,
    TRELLIS_OT_remove_backend,
    TRELLIS_OT_copy_outcome,
    TRELLIS_OT_open_install_log,
)
