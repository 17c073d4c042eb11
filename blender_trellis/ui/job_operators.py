"""The buttons of the queue and of the last fault."""

from pathlib import Path

import bpy

from ..backend_settings import backend_settings
from ..extension_paths import user_folder
from ..faults import Fault
from ..jobs import session
from ..picture_source import read_picture
from .operators import submit_each, why_not_files
from .widgets import report


class JobOperator(bpy.types.Operator):
    """What all buttons of one job have; not registered itself."""

    bl_options = {"INTERNAL"}

    job: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})


class TRELLIS_OT_generate_from_files(bpy.types.Operator):
    """Choose pictures and make a separate object of each; they wait in the queue"""

    bl_idname = "trellis.generate_from_files"
    bl_label = "Generate from Each Picture"

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"}
    )
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = why_not_files(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.trellis
        names = [one.name for one in self.files if one.name]
        sent = 0
        for name in names:
            try:
                picture = read_picture(Path(bpy.path.abspath(self.directory)) / name)
                settings.draw_seed()
                request = settings.to_request((picture,), backend_settings())
                submit_each(settings, request, picture.stem)
                sent += 1
            except Fault as fault:  # the others are made all the same
                report(self, "ERROR", str(fault))
        if not names:
            report(self, "ERROR", "No picture was chosen: mark one or more in the file browser")
        return {"FINISHED"} if sent else {"CANCELLED"}


class TRELLIS_OT_cancel(JobOperator):
    """Give up this job; nothing in the scene changes"""

    bl_idname = "trellis.cancel"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.cancel(self.job)
        return {"FINISHED"}


class TRELLIS_OT_resume_jobs(bpy.types.Operator):
    """Start the backend and go on with the jobs that wait"""

    bl_idname = "trellis.resume_jobs"
    bl_label = "Continue"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        task = session.task("install")  # before whose end no backend may start
        return task is None or task.done

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session.resume()
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_move_job(JobOperator):
    """Let this job run earlier or later"""

    bl_idname = "trellis.move_job"
    bl_label = "Move"

    by: bpy.props.IntProperty(default=-1, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.move(self.job, self.by)
        return {"FINISHED"}


class TRELLIS_OT_retry_job(JobOperator):
    """Run this job again, with the same picture, numbers and seed"""

    bl_idname = "trellis.retry_job"
    bl_label = "Run Again"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session.retry(self.job)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_forget_job(JobOperator):
    """Take this job off the list; what it made stays"""

    bl_idname = "trellis.forget_job"
    bl_label = "Remove"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.forget(self.job)
        return {"FINISHED"}


class TRELLIS_OT_continue_left(bpy.types.Operator):
    """Make what was waiting; what was finished goes into this scene at once"""

    bl_idname = "trellis.continue_left"
    bl_label = "Continue"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            session.continue_left()
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_discard_left(bpy.types.Operator):
    """Drop the jobs that were waiting, finished ones too"""

    bl_idname = "trellis.discard_left"
    bl_label = "Discard"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.discard_left()
        return {"FINISHED"}


class TRELLIS_OT_dismiss(bpy.types.Operator):
    """Close this message"""

    bl_idname = "trellis.dismiss"
    bl_label = "Close"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.dismiss()
        return {"FINISHED"}


class TRELLIS_OT_copy_fault(bpy.types.Operator):
    """Copy this message, with the last lines of the log, to paste it into a report"""

    bl_idname = "trellis.copy_fault"
    bl_label = "Copy"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        status = session.status()
        context.window_manager.clipboard = "\n".join((status.fault, *status.log))
        return {"FINISHED"}


class TRELLIS_OT_open_log(bpy.types.Operator):
    """Open the backend's log in the program that shows text files"""

    bl_idname = "trellis.open_log"
    bl_label = "Open Log"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not (user_folder() / "backend.log").is_file():
            cls.poll_message_set("The backend has not run yet, so there is no log")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        bpy.ops.wm.path_open(filepath=str(user_folder() / "backend.log"))
        return {"FINISHED"}


class TRELLIS_OT_open_folder(bpy.types.Operator):
    """Open the folder that holds the backend, its log and the downloaded models"""

    bl_idname = "trellis.open_folder"
    bl_label = "Open Folder"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            folder = user_folder(create=True)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        bpy.ops.wm.path_open(filepath=str(folder))
        return {"FINISHED"}


CLASSES = (
    TRELLIS_OT_generate_from_files,
    TRELLIS_OT_cancel,
    TRELLIS_OT_resume_jobs,
    TRELLIS_OT_move_job,
    TRELLIS_OT_retry_job,
    TRELLIS_OT_forget_job,
    TRELLIS_OT_continue_left,
    TRELLIS_OT_discard_left,
    TRELLIS_OT_dismiss,
    TRELLIS_OT_copy_fault,
    TRELLIS_OT_open_log,
    TRELLIS_OT_open_folder,
)
