"""The sidebar tab. Draws what the session and the settings hold, and changes neither."""

from enum import IntEnum

import bpy

from ..jobs import session
from ..jobs.hindrance import hindrance
from ..scene.collection import shown_with
from ..scene.find_asset import ASSET
from ..scene.gaussians.object import is_gaussian
from ..translations import translated
from .input.panel import draw_input
from .input.presets import draw_presets
from .install.panel import draw_install
from .model_menu import label_of
from .remedies import draw_hindrance, draw_remedy
from .splats.panel import draw_splats
from .widgets import draw_own, draw_reasons, draw_text, letters_across


class Order(IntEnum):
    """`bl_order` of the panels within the tab, from what is chosen first to what is seldom looked at."""

    LEFT = 0
    QUEUE = 1  # below the bar of the job that runs
    CANDIDATES = 2
    ADVANCED = 3
    OUTPUT = 4
    FINISH = 5
    REGION = 6
    VARY = 7
    MODELS = 8
    BACKEND = 9


class TrellisPanel(bpy.types.Panel):
    """Where all of the tab's panels lie; not registered itself."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "TRELLIS"


class TRELLIS_PT_main(TrellisPanel):
    """Picture, model, seed and the button."""

    bl_label = "TRELLIS"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        letters = letters_across(context)
        settings = context.scene.trellis
        if not session.has_backend() or session.needs_repair():
            draw_install(layout, letters)
        draw_input(layout, settings, letters)
        layout.menu("TRELLIS_MT_models", text=label_of(settings.model), icon="MESH_ICOSPHERE")
        if session.has_backend():
            draw_hindrance(layout, hindrance(settings.model), letters)
        draw_presets(layout, settings)
        status = session.status()
        if status.job:
            _draw_running(layout, status)
        row = layout.row()
        row.scale_y = 1.6
        waits = "Add to Queue" if status.job else "Generate"
        row.operator("trellis.generate", text=waits, icon="MESH_MONKEY")
        layout.operator("trellis.generate_from_files", icon="FILE_FOLDER")
        if status.waiting:
            draw_text(layout, status.waiting, "TIME", letters)
        if status.fault:
            _draw_fault(layout, status, letters)
        if status.note:
            row = layout.row()
            draw_text(row, status.note, "INFO", letters)
            row.operator("trellis.dismiss", text="", icon="X", emboss=False)


def _draw_running(layout: bpy.types.UILayout, status: "session.Status") -> None:
    """The bar of the job that runs, with how long it has taken and will still take."""
    column = layout.column(align=True)
    row = column.row(align=True)
    row.scale_y = 1.3
    row.progress(factor=status.fraction, text=f"{translated(status.words)}  {status.fraction:.0%}")
    row.operator("trellis.cancel", text="", icon="X").job = status.job
    row = column.row()
    row.active = False
    took = f"{status.name}: {status.seconds} s"
    if status.left is not None:
        took = translated(f"{took}, about {status.left} s left")
    row.label(text=took, translate=False)


def _draw_fault(layout: bpy.types.UILayout, status: "session.Status", letters: int) -> None:
    box = layout.box()
    row = box.row()
    row.alert = True
    draw_text(row, status.fault, "ERROR", letters)
    row.operator("trellis.dismiss", text="", icon="X", emboss=False)
    column = box.column(align=True)
    row = column.row(align=True)  # of two: a third would be cut off in a sidebar of the usual width
    row.operator("trellis.copy_fault", icon="COPYDOWN")
    row.operator("trellis.open_log", icon="TEXT")
    column.operator("trellis.open_folder", icon="FILE_FOLDER")
    draw_remedy(box, session.remedy())


class TRELLIS_PT_advanced(TrellisPanel):
    """Every number of a generation."""

    bl_label = "Advanced"
    bl_description = "The numbers behind the presets"
    bl_order = Order.ADVANCED
    bl_parent_id = "TRELLIS_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        _draw_seed(self.layout, context.scene.trellis, letters_across(context))


def _draw_seed(layout: bpy.types.UILayout, settings, letters: int) -> None:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    row = column.row(align=True)
    row.active = not settings.why_idle("seed")
    row.prop(settings, "seed")
    row.prop(settings, "use_random_seed", text="", icon="FILE_REFRESH")
    draw_reasons(column, (settings.why_idle("seed"),), letters)


class TRELLIS_PT_sparse_structure(TrellisPanel):
    """Sampling of the first stage."""

    bl_label = "Shape"
    bl_order = 1
    bl_description = "How the first stage is sampled, which finds where in space the object is"
    bl_parent_id = "TRELLIS_PT_advanced"
    bl_options = {"DEFAULT_CLOSED"}

    def draw_header(self, context: bpy.types.Context) -> None:
        self.layout.prop(context.scene.trellis.sparse_structure, "use_custom", text="")

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.trellis
        _draw_stage(self.layout, settings, settings.sparse_structure, letters_across(context))


class TRELLIS_PT_structured_latent(TrellisPanel):
    """Sampling of the second stage."""

    bl_label = "Appearance"
    bl_order = 2
    bl_description = "How the second stage is sampled, which finds what the surface looks like"
    bl_parent_id = "TRELLIS_PT_advanced"
    bl_options = {"DEFAULT_CLOSED"}

    def draw_header(self, context: bpy.types.Context) -> None:
        self.layout.prop(context.scene.trellis.structured_latent, "use_custom", text="")

    def draw(self, context: bpy.types.Context) -> None:
        settings = context.scene.trellis
        _draw_stage(self.layout, settings, settings.structured_latent, letters_across(context))


def _draw_stage(layout: bpy.types.UILayout, settings, stage, letters: int) -> None:
    layout.use_property_split = True
    layout.use_property_decorate = False
    if not stage.use_custom:
        layout.label(text="As the model recommends")
        if stage.of_model() is None:
            return  # which numbers these are shows once the backend has told of the model
    reasons = []
    for setting in ("steps", "cfg_strength"):
        reasons.append(settings.why_idle(setting))
        row = layout.row()
        row.active = stage.use_custom and not reasons[-1]
        # What the model recommends can be read but not set until the box is ticked.
        row.enabled = stage.use_custom
        row.prop(stage, setting)
    draw_reasons(layout, tuple(reasons), letters)


class TRELLIS_PT_output(TrellisPanel):
    """What is made, and which of it is shown."""

    bl_label = "Output"
    bl_order = Order.OUTPUT
    bl_parent_id = "TRELLIS_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.row().prop(context.scene.trellis, "formats", expand=True)
        draw_standing(layout, context.scene.trellis)
        active = context.view_layer.objects.active
        if active is not None and ASSET in active:
            layout.operator("trellis.regenerate_this", icon="FILE_REFRESH")
            layout.operator("trellis.true_colors", icon="COLOR").colors = "SUITED"
        items = shown_with(active)
        splats = next((item for item in items if is_gaussian(item)), None)
        if splats is not None:
            draw_splats(layout, context, items, splats if not is_gaussian(active) else active)


def draw_standing(layout: bpy.types.UILayout, settings) -> None:
    """How large, where and which way round a new result stands."""
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "results")
    draw_own(column, settings, "height", "Height", "As Made")
    for name in ("facing", "place", "on_ground"):
        column.prop(settings, name)


class TRELLIS_PT_backend(TrellisPanel):
    """The process behind it."""

    bl_label = "Backend"
    bl_order = Order.BACKEND
    bl_parent_id = "TRELLIS_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        for line in session.status().backend:
            layout.label(text=translated(line), translate=False)
        layout.operator("trellis.stop_backend", icon="QUIT")


CLASSES = (
    TRELLIS_PT_main,
    TRELLIS_PT_advanced,
    TRELLIS_PT_output,
    TRELLIS_PT_sparse_structure,
    TRELLIS_PT_structured_latent,
    TRELLIS_PT_backend,
)
