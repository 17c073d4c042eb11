"""What Cycles must be set to so that its rays pass through all splats."""

import bpy

# A ray meets every hull twice, and Cycles gives up after 8 unless told otherwise. This is the most it takes.
MOST_BOUNCES = 1024
# Up to here rays go on by weight, not by chance: less noise for the same time.
CERTAIN_BOUNCES = 96
BOUNCES_RAISED = f"Cycles' transparent bounces are now {MOST_BOUNCES}: its rays pass through many splats"


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
