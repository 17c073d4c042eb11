"""Where the backend's Python and the models are, and what they run on."""

import bpy

from ..extension_paths import EXTENSION
from ..jobs import session
from .install.panel import draw_install
from .models.draw import draw_models
from .widgets import draw_outcome, draw_own, draw_task, letters_across


def _search_devices(preferences, context, typed: str):
    return [name for name in session.known_devices() if typed.lower() in name]


class TrellisPreferences(bpy.types.AddonPreferences):
    """The extension's preferences."""

    bl_idname = EXTENSION

    python: bpy.props.StringProperty(
        name="Python",
        description="An interpreter that has the backend's packages; empty takes the installed backend. "
        "The environment variable TRELLIS_PYTHON goes before it",
        subtype="FILE_PATH",
    )
    models: bpy.props.StringProperty(
        name="Models",
        description="Folder with downloaded models; empty takes the extension's own folder",
        subtype="DIR_PATH",
    )
    mirror: bpy.props.StringProperty(
        name="Mirror",
        description="Address of a server that serves what huggingface.co does; empty takes huggingface.co",
    )
    background_remover: bpy.props.StringProperty(
        name="Background Remover",
        description="File of a network, such as u2net.onnx, for pictures with neither transparency nor a "
        "plain background; empty takes the finest one of the models folder",
        subtype="FILE_PATH",
    )
    device: bpy.props.StringProperty(
        name="Device",
        description="What the models run on: auto, cpu, cuda, cuda:1, mps",
        default="auto",
        search=_search_devices,
        search_options={"SUGGESTION"},
    )
    precision: bpy.props.EnumProperty(
        name="Precision",
        items=(
            ("auto", "Automatic", "What the device does fastest without loss that can be seen"),
            ("fp32", "32 Bit", "Slowest, for comparison"),
            ("fp16", "16 Bit", "For graphics cards"),
            ("bf16", "16 Bit (bfloat)", "For recent processors and graphics cards"),
        ),
        default="auto",
    )
    engine: bpy.props.EnumProperty(
        name="Engine",
        items=(
            ("torch", "PyTorch", "Runs everywhere"),
            (
                "cuda",
                "CUDA Libraries",
                "spconv and xformers, for NVIDIA cards; run the self-test with it first",
            ),
        ),
        default="torch",
    )
    memory: bpy.props.EnumProperty(
        name="Memory",
        description="What a graphics card keeps of the model between its stages",
        items=(
            ("auto", "Automatic", "Parts leave the card only where there is no room for the next one"),
            ("keep", "Keep All", "Fastest from the second object on, where the card is large enough"),
            ("release", "Free Each Part", "Needs the least memory; every object waits for the parts again"),
        ),
        default="auto",
    )
    accelerator: bpy.props.EnumProperty(
        name="Install For",
        items=(
            ("auto", "Automatic", "For an NVIDIA graphics card where there is one, else for the processor"),
            ("cpu", "Processor", "Smallest download; generates slowly"),
            ("cuda", "NVIDIA Graphics Card", "Several gigabytes to download"),
        ),
        default="auto",
    )
    own_python: bpy.props.BoolProperty(
        name="Python of Its Own",
        description="Download a Python for the backend too, about 35 MB more, instead of building on "
        "Blender's own. For a Blender whose Python the packages are not made for",
    )
    wheels: bpy.props.StringProperty(
        name="Packages From",
        description="Folder of wheel files to install from without a network; empty downloads them",
        subtype="DIR_PATH",
    )
    command: bpy.props.StringProperty(
        name="Backend Command",
        description="Starts a backend elsewhere instead of one of this machine, such as: "
        "ssh gpubox trellis-backend",
    )
    own_idle_minutes: bpy.props.BoolProperty(
        name="Free Memory",
        description="End the backend when it has had no job for some time; otherwise it keeps its memory",
        get=lambda self: self.idle_minutes > 0,
        set=lambda self, value: setattr(self, "idle_minutes", 15 if value else 0),
    )
    idle_minutes: bpy.props.IntProperty(
        name="Free Memory After",
        description="Minutes without a job after which the backend ends and its memory is free; the next job "
        "starts it again",
        default=15,
        min=0,
        soft_max=240,
        subtype="UNSIGNED",
    )

    keeps_pictures: bpy.props.BoolProperty(
        name="Keep Pictures",
        description="Pack the pictures into the Blender file with what was made of them, so that it can be "
        "edited and made again from the object alone",
        default=True,
    )
    frames_results: bpy.props.BoolProperty(
        name="Frame Results",
        description="Turn 3D views to a new result, and let Solid views show its colors",
        default=True,
    )
    true_colors: bpy.props.BoolProperty(
        name="True Colors",
        description="Set a new scene, once, so that renders and Material Preview show results in the colors "
        "of their picture: view transform Standard instead of AgX. Scenes of your own stay as they are",
        default=True,
    )
    shows_previews: bpy.props.BoolProperty(
        name="Show the Shape While It Is Made",
        description="Draw an object into 3D views while it is made: its voxels, then its Gaussians as points",
        default=True,
    )
    points_while_moving: bpy.props.BoolProperty(
        name="Points While Moving",
        description="Draw large sets of Gaussians as points while a 3D view moves, so that it follows",
        default=True,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """The backend: whether it is there, how to get it, whether it computes rightly; then the settings."""
        layout = self.layout
        letters = letters_across(context)
        draw_install(layout, letters)
        test = session.task("self-test")
        box = layout.box()
        if test is not None and not test.done:
            draw_task(box, test, "self-test")
        else:
            box.operator("trellis.self_test", icon="CHECKMARK")
            if test is not None:
                draw_outcome(box, test, letters)
        header, body = layout.panel("trellis_models")
        header.label(text="Models")
        if body is not None:
            draw_models(body, letters)
        layout.use_property_split = True
        layout.use_property_decorate = False
        for name in (
            "accelerator",
            "own_python",
            "wheels",
            "command",
            "idle_minutes",
            "device",
            "precision",
            "engine",
            "memory",
            "python",
            "models",
            "mirror",
            "background_remover",
            "keeps_pictures",
            "frames_results",
            "true_colors",
            "shows_previews",
            "points_while_moving",
        ):
            if name == "idle_minutes":
                draw_own(layout, self, name, "Free Memory After", "Stays Loaded")
            else:
                layout.prop(self, name)


CLASSES = (TrellisPreferences,)
