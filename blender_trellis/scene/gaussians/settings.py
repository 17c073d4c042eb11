"""What a scene must be set to so that splats render as they are."""

from collections.abc import Iterable

import bpy

from .nodes import ENCODED, IN_VIEWPORT, get_input, set_input
from .object import MODIFIER, is_gaussian

# A ray meets every hull twice, and Cycles gives up after 8 unless told otherwise. This is the most it takes.
MOST_BOUNCES = 1024
# Up to here rays go on by weight, not by chance: less noise for the same time.
CERTAIN_BOUNCES = 96
BOUNCES_RAISED = f"Cycles' transparent bounces are now {MOST_BOUNCES}: its rays pass through many splats"
TRANSFORMS = {"STANDARD": "Standard", "VIEWERS": "Raw"}
# Pixel filters' width, in pixels: Blender's own, and one that takes each pixel at its centre, as viewers do.
SOFT, SHARP = 1.5, 0.01
# Objects that light falls on.
_LIT = ("MESH", "CURVE", "CURVES", "SURFACE", "META", "FONT", "POINTCLOUD", "VOLUME", "GREASEPENCIL")


def lacks_bounces(scene: bpy.types.Scene) -> bool:
    """Whether Cycles would stop rays within the splats."""
    cycles = getattr(scene, "cycles", None)  # None where its add-on is switched off
    return cycles is not None and cycles.transparent_max_bounces < MOST_BOUNCES


def raise_bounces(scene: bpy.types.Scene) -> bool:
    """Lets Cycles' rays pass through all splats. Returns whether that had to be changed."""
    if not lacks_bounces(scene):
        return False
    scene.cycles.transparent_max_bounces = MOST_BOUNCES
    scene.cycles.min_transparent_bounces = max(scene.cycles.min_transparent_bounces, CERTAIN_BOUNCES)
    return True


def use_colors(scene: bpy.types.Scene, choice: str) -> None:
    """Lets the scene show the splats' colours as they are, without a film's response.

    "STANDARD" mixes light, as for all other objects. "VIEWERS" mixes what displays are told, as viewers of
    splats do, and takes pixels at their centres; the view transform that leaves this alone leaves other
    objects too dark, and the filter gives them jagged edges.
    """
    _use_filter(scene, sharp=choice == "VIEWERS")
    scene.view_settings.view_transform = TRANSFORMS[choice]
    scene.view_settings.look = "None"
    for item in filter(is_gaussian, scene.objects):
        set_input(item.modifiers[MODIFIER], ENCODED, choice == "VIEWERS")
        item.update_tag()


def _use_filter(scene: bpy.types.Scene, sharp: bool) -> None:
    owners = [(scene.render, "filter_size")]
    if hasattr(scene, "cycles"):
        owners.append((scene.cycles, "filter_width"))
    for owner, name in owners:
        if sharp:
            setattr(owner, name, SHARP)
        elif abs(getattr(owner, name) - SHARP) < 1e-6:
            setattr(owner, name, SOFT)


def suited_colors(scene: bpy.types.Scene) -> str:
    """The choice for what the scene renders: "VIEWERS" where that is splats alone."""
    seen = (item for item in scene.objects if not item.hide_render and item.type in _LIT)
    return "VIEWERS" if all(is_gaussian(item) for item in seen) else "STANDARD"


def colors_in_use(scene: bpy.types.Scene, splats: bpy.types.Object) -> str:
    """The choice that scene and splats are set to, or "" where they show other colours."""
    encoded = bool(get_input(splats.modifiers[MODIFIER], ENCODED))
    transform = scene.view_settings.view_transform
    return next(
        (name for name in TRANSFORMS if (name == "VIEWERS") == encoded and TRANSFORMS[name] == transform), ""
    )


def suit_view(context: bpy.types.Context, items: Iterable[bpy.types.Object]) -> None:
    """Lets the 3D view in use show colours where it would show grey, and splats where it shades."""
    space = context.space_data
    if space is None or space.type != "VIEW_3D":
        return
    if space.shading.type == "SOLID":
        space.shading.color_type = "VERTEX"
    for item in items:
        set_input(item.modifiers[MODIFIER], IN_VIEWPORT, space.shading.type in ("MATERIAL", "RENDERED"))
        item.update_tag()
