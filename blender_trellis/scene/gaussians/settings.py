"""What a scene must be set to so that splats render as they are."""

import bpy

# A ray meets every hull twice, and Cycles gives up after 8 unless told otherwise. This is the most it takes.
MOST_BOUNCES = 1024
# Up to here rays go on by weight, not by chance: less noise for the same time.
CERTAIN_BOUNCES = 64
BOUNCES_RAISED = f"Cycles' transparent bounces are now {MOST_BOUNCES}: its rays pass through many splats"
PLAIN_TRANSFORMS = ("Standard", "Raw")


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


def use_plain_colors(scene: bpy.types.Scene) -> None:
    """Lets the scene show colours as they are, without a film's response."""
    scene.view_settings.view_transform = PLAIN_TRANSFORMS[0]
    scene.view_settings.look = "None"


def show_colors(context: bpy.types.Context) -> None:
    """Lets the 3D view in use show the colours of attributes where it would show grey."""
    space = context.space_data
    if space is not None and space.type == "VIEW_3D" and space.shading.type == "SOLID":
        space.shading.color_type = "VERTEX"


def changes_colors(scene: bpy.types.Scene) -> bool:
    """Whether the view transform shows other colours than the splats hold, as films do."""
    return scene.view_settings.view_transform not in PLAIN_TRANSFORMS
