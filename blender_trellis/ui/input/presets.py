"""Presets: three that come with the add-on, and one's own, saved as Blender saves presets.

A preset sets what is made and how finely, never the picture, the model or the seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from ...jobs import session
from ...protocol import READY_TO_USE

FOLDER = "trellis"
STAGES = ("sparse_structure", "structured_latent")
OF_A_STAGE = ("use_custom", "own_steps", "own_cfg_strength")


@dataclass(frozen=True)
class Preset:
    """steps: of each stage, 0 for the model's own. finishing: what differs from the defaults.

    is_quick: a model that takes no more steps of its own keeps them.
    """

    label: str
    description: str
    formats: frozenset[str]
    steps: int = 0
    is_quick: bool = False
    finishing: Mapping[str, Any] = field(default_factory=dict)


BOTH = frozenset({"mesh", "gaussian"})
PRESETS = {
    "preview": Preset(
        "Preview",
        "See quickly what becomes of the picture: Gaussians alone, in few steps",
        frozenset({"gaussian"}),
        steps=8,
        is_quick=True,
        finishing={"preset": "raw", "texture": "0"},
    ),
    "standard": Preset(
        "Standard",
        "Ready to use: a closed mesh with a texture, and Gaussians, in as many steps as the model recommends",
        BOTH,
        finishing={"preset": READY_TO_USE.preset, "texture": str(READY_TO_USE.texture)},
    ),
    "best": Preset(
        "Best",
        "As fine as it gets, and slow: more steps, a mesh of up to 100,000 faces, the largest texture",
        BOTH,
        steps=50,
        finishing={"preset": "film", "texture": "4096"},
    ),
}


def values_of(settings, preset: Preset) -> dict[str, Any]:
    """What a preset sets with the chosen model, by the paths of the settings."""
    values: dict[str, Any] = {"formats": set(preset.formats), "finish.faces": 0}
    info = session.model_info(settings.model)
    for stage in STAGES:
        steps = preset.steps
        if preset.is_quick and info is not None:
            own = info.stage(stage)  # None: a bundled model, before a backend has run
            steps = 0 if own is None or own.steps <= steps else steps
        values |= {
            f"{stage}.use_custom": steps > 0,
            f"{stage}.own_steps": steps,
            f"{stage}.own_cfg_strength": -1.0,
        }
    return values | {f"finish.{name}": value for name, value in preset.finishing.items()}


def apply(settings, preset: Preset) -> None:
    """Sets what the preset says and leaves the rest."""
    for path, value in values_of(settings, preset).items():
        *owners, name = path.split(".")
        setattr(reduce(getattr, owners, settings), name, value)


def is_applied(settings, preset: Preset) -> bool:
    """Whether all is as the preset says."""
    return all(
        reduce(getattr, path.split("."), settings) == value
        for path, value in values_of(settings, preset).items()
    )


class TRELLIS_OT_apply_preset(bpy.types.Operator):
    """Set what is made and how finely"""

    bl_idname = "trellis.apply_preset"
    bl_label = "Apply Preset"
    bl_options = {"INTERNAL", "UNDO"}

    preset: bpy.props.EnumProperty(
        items=tuple((name, one.label, one.description) for name, one in PRESETS.items()),
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties) -> str:
        """What the preset is for."""
        return bpy.app.translations.pgettext_tip(PRESETS[properties.preset].description)

    def execute(self, context: bpy.types.Context) -> set[str]:
        apply(context.scene.trellis, PRESETS[self.preset])
        return {"FINISHED"}


class TRELLIS_PT_presets(PresetPanel, bpy.types.Panel):
    """One's own presets."""

    bl_label = "Your Presets"
    preset_subdir = FOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "trellis.add_preset"

    def draw(self, context: bpy.types.Context) -> None:
        if bpy.utils.preset_paths(FOLDER):
            super().draw(context)
            return
        # As Blender draws it, which finds fault with a folder that no preset has made yet.
        row = self.layout.row(align=True)
        row.prop(context.window_manager, "preset_name", text="")
        add = row.operator(self.preset_add_operator, text="", icon="ADD")
        add.name = context.window_manager.preset_name


class TRELLIS_OT_add_preset(AddPresetBase, bpy.types.Operator):
    """Keep these settings under a name, for this and other files, or remove that name"""

    bl_idname = "trellis.add_preset"
    bl_label = "Add Preset"
    preset_menu = "TRELLIS_PT_presets"
    preset_subdir = FOLDER
    preset_defines = ["settings = bpy.context.scene.trellis"]
    preset_values = [
        "settings.formats",
        "settings.multi_image",
        *(f"settings.{stage}.{name}" for stage in STAGES for name in OF_A_STAGE),
        "settings.finish",
    ]


def draw_presets(layout: bpy.types.UILayout, settings) -> None:
    """A button each; the one that is set is pressed. Behind them one's own."""
    row = layout.row(align=True)
    for name, preset in PRESETS.items():
        row.operator(
            "trellis.apply_preset", text=preset.label, depress=is_applied(settings, preset)
        ).preset = name
    TRELLIS_PT_presets.draw_menu(row, text="")


CLASSES = (TRELLIS_OT_apply_preset, TRELLIS_PT_presets, TRELLIS_OT_add_preset)
