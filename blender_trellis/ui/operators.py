"""The buttons: each reads what it needs, calls one function, and turns a Fault into a report."""

import bpy

from ..backend_settings import backend_settings
from ..faults import Fault
from ..jobs import session
from ..jobs.candidates import of_seeds
from ..jobs.hindrance import hindrance
from ..jobs.placement import Placement
from ..protocol import Generate
from ..scene.collection import show_objects, shown_with
from ..scene.display.colors import choose_colors
from ..scene.display.shading import suit_view
from ..scene.gaussians.object import is_gaussian
from ..scene.gaussians.settings import BOUNCES_RAISED, raise_bounces
from .input.pictures import NO_PICTURES
from .properties import SEED_MAX
from .widgets import in_object_mode, none_in_edit_mode, report


class TRELLIS_OT_generate(bpy.types.Operator):
    """Make a 3D object of the picture. Blender stays usable meanwhile; the next one waits in the queue"""

    bl_idname = "trellis.generate"
    bl_label = "Generate"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = why_not_generate(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.trellis
        chosen = backend_settings()
        try:
            pictures = settings.read_pictures()
            settings.draw_seed()
            name = pictures[0].stem if pictures else settings.prompt.strip()[:40]
            submit_each(settings, settings.to_request(pictures, chosen), name)
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


def submit_each(settings, request: Generate, name: str) -> None:
    """Sends the request for as many seeds in turn as results are asked for."""
    for one in of_seeds(request, settings.results, SEED_MAX):
        session.submit(one, placement_of(settings, name))


def placement_of(settings, name: str) -> Placement:
    """Where and how a new result called `name` goes into the scene."""
    marks = settings.marks.to_marks() if settings.marks.marks_results else None
    scene = settings.id_data.session_uid
    return Placement(name, scene=scene, standing=settings.to_standing(), marks=marks)


def why_not_generate(context: bpy.types.Context) -> str:
    """Why nothing can be generated, one sentence; empty where it can."""
    if context.scene is None:
        return "There is no scene"
    if not session.has_backend():
        return "Install the backend first"
    found = hindrance(context.scene.trellis.model)
    return context.scene.trellis.missing() or (found.sentence if found is not None else "")


def why_not_files(context: bpy.types.Context) -> str:
    """Why no picture files can be made objects of, one sentence; empty where they can."""
    if context.scene is None:
        return "There is no scene"
    if not session.has_backend():
        return "Install the backend first"
    if not context.scene.trellis.formats:
        return "Choose at least one output"
    return "" if "pictures" in context.scene.trellis.takes() else NO_PICTURES


class TRELLIS_OT_show(bpy.types.Operator):
    """Choose which part of the active result viewports and renders show"""

    bl_idname = "trellis.show"
    bl_label = "Show"
    bl_options = {"REGISTER", "UNDO"}

    kind: bpy.props.EnumProperty(
        name="Show",
        items=(
            ("mesh", "Mesh", "The mesh alone"),
            ("gaussian", "Gaussians", "The Gaussians alone"),
            ("both", "Both", "Mesh and Gaussians, one in the other"),
        ),
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        if context.object is None or not context.object.users_collection:
            return False
        return none_in_edit_mode(cls, shown_with(context.object)) and in_object_mode(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        items = shown_with(context.object)
        splats = [item for item in items if is_gaussian(item)]
        if splats:
            show_objects(items, self.kind)
            suit_view(context, splats)
        if self.kind != "mesh" and raise_bounces(context.scene):
            report(self, "INFO", BOUNCES_RAISED)
        return {"FINISHED"}


class TRELLIS_OT_true_colors(bpy.types.Operator):
    """Set the scene so that renders and Material Preview show colors as pictures and splats have them"""

    bl_idname = "trellis.true_colors"
    bl_label = "True Colors"
    bl_options = {"REGISTER", "UNDO"}

    colors: bpy.props.EnumProperty(
        name="Colors",
        items=(
            ("SUITED", "Automatic", "As Viewers where splats alone are rendered, else Standard"),
            ("STANDARD", "Standard", "For lit objects, and splats beside them: view transform Standard"),
            (
                "VIEWERS",
                "As Viewers",
                "Exactly as viewers of splats, for splats alone: view transform Raw, sharp pixels",
            ),
        ),
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        scene = context.scene
        try:
            report(self, "INFO", choose_colors(scene, "" if self.colors == "SUITED" else self.colors))
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        if any(is_gaussian(item) for item in scene.objects) and raise_bounces(scene):
            report(self, "INFO", BOUNCES_RAISED)
        return {"FINISHED"}


class TRELLIS_OT_self_test(bpy.types.Operator):
    """Compute reference results on this machine and compare them with what they should be"""

    bl_idname = "trellis.self_test"
    bl_label = "Run Self-Test"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.backend_python() is None:
            cls.poll_message_set("Install the backend first")
            return False
        task = session.task("self-test")
        return task is None or task.done

    def execute(self, context: bpy.types.Context) -> set[str]:
        chosen = backend_settings()
        session.run_self_test(chosen.device, chosen.engine)
        return {"FINISHED"}


class TRELLIS_OT_cancel_task(bpy.types.Operator):
    """Stop this task"""

    bl_idname = "trellis.cancel_task"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    name: bpy.props.StringProperty()

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.cancel_task(self.name)
        return {"FINISHED"}


class TRELLIS_OT_stop_backend(bpy.types.Operator):
    """End the backend's process and free its memory. It starts again with the next generation"""

    bl_idname = "trellis.stop_backend"
    bl_label = "Stop Backend"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return session.is_running()

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.stop_backend()
        return {"FINISHED"}


CLASSES = (
    TRELLIS_OT_generate,
    TRELLIS_OT_show,
    TRELLIS_OT_true_colors,
    TRELLIS_OT_self_test,
    TRELLIS_OT_cancel_task,
    TRELLIS_OT_stop_backend,
)
