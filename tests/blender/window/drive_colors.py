"""Runs inside a windowed Blender: which colours a yellow asset has on the screen.

blender --python drive_colors.py -- PLAN.json
"""

import colorsys
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from bpy_extras import view3d_utils

sys.path.insert(0, str(Path(__file__).parent))
from driving import ADDON, PLAN, is_idle, report, run, screenshot, session, show_tab, until, window_context

COLORED = 0.2  # a saturation that nothing has whose shader is still being compiled
MOST_PICTURES = 60


def generate(texture: str) -> Iterator[float]:
    with window_context():
        settings = bpy.context.scene.trellis
        settings.picture, settings.finish.texture = PLAN["picture"], texture
        settings.formats = {"mesh"}
        bpy.ops.trellis.generate()
    yield from until(is_idle)
    yield 0.5


def finish(texture: str) -> Iterator[float]:
    with window_context():
        bpy.context.scene.trellis.finish.texture = texture
        bpy.ops.trellis.finish()
    yield from until(is_idle)
    yield 0.5


def view() -> bpy.types.SpaceView3D:
    with window_context():
        return bpy.context.area.spaces.active


def seen(kind: str, name: str) -> Iterator[float]:
    """Notes the asset's hue (degrees), saturation and value in this kind of view, as the screen shows it."""
    space = view()
    space.shading.type = kind
    space.overlay.show_overlays = space.show_gizmo = False
    with window_context():
        region = next(one for one in bpy.context.area.regions if one.type == "WINDOW")
        with bpy.context.temp_override(region=region):
            bpy.ops.view3d.view_selected()
    for _ in range(MOST_PICTURES):  # of the screen, each of which takes a while
        yield 3.0
        if color_of_selected(region, space, name)[1] > COLORED:
            break
    yield 2.0  # more samples
    report[name] = color_of_selected(region, space, name)


def color_of_selected(region: bpy.types.Region, space: bpy.types.SpaceView3D, name: str) -> list[float]:
    """The mean of what is coloured where the selected asset is, on a new picture of the screen."""
    screenshot(name)
    image = bpy.data.images.load(str(Path(PLAN["shots"]) / f"{name}.png"))
    shown = np.array(image.pixels).reshape(image.size[1], image.size[0], -1)[..., :3]
    bpy.data.images.remove(image)
    item = next(one for one in bpy.context.selected_objects if one.type == "MESH")
    corners = [item.matrix_world @ vertex.co for vertex in item.data.vertices]
    places = [view3d_utils.location_3d_to_region_2d(region, space.region_3d, one) for one in corners]
    left, bottom = (np.min(places, axis=0) + (region.x, region.y)).astype(int)
    right, top = (np.max(places, axis=0) + (region.x, region.y)).astype(int)
    pixels = shown[bottom:top, left:right].reshape(-1, 3)
    colored = pixels[np.ptp(pixels, axis=1) > COLORED * pixels.max(axis=1)]
    if len(colored) < 0.1 * len(pixels):
        return [0.0, 0.0, 0.0]
    hue, saturation, value = colorsys.rgb_to_hsv(*colored.mean(axis=0))
    return [360 * hue, saturation, value]


def strengths() -> list[float]:
    """Of the light in Material Preview, in all 3D views."""
    spaces = (area.spaces.active for screen in bpy.data.screens for area in screen.areas)
    return sorted({one.shading.studiolight_intensity for one in spaces if one.type == "VIEW_3D"})


def transform() -> str:
    return bpy.context.window_manager.windows[0].scene.view_settings.view_transform


def new_file() -> Iterator[float]:
    bpy.ops.wm.read_homefile(use_empty=False, load_ui=False)
    yield 0.5


def left_alone() -> Iterator[float]:
    """With the preference off."""
    bpy.context.preferences.addons[ADDON].preferences.true_colors = False
    yield from generate("512")
    report["off"] = [transform(), session().status().note, strengths()]
    yield from seen("MATERIAL", "preview_off")
    bpy.context.preferences.addons[ADDON].preferences.true_colors = True
    yield from new_file()


def set_up() -> Iterator[float]:
    """A new file, textured; undone and redone."""
    yield from generate("512")
    report["on"] = [transform(), session().status().note, strengths()]
    yield from seen("MATERIAL", "preview_texture")
    yield from seen("SOLID", "solid_texture")
    with window_context():
        bpy.ops.ed.undo()
    yield 0.5
    report["undone"] = [transform(), sorted(one.name for one in bpy.data.objects)]
    with window_context():
        bpy.ops.ed.redo()
    yield 0.5
    report["redone"] = transform()
    bpy.context.window_manager.windows[0].scene.view_settings.view_transform = "AgX"
    yield from generate("512")
    report["set_back"] = transform()
    with window_context():
        bpy.ops.trellis.true_colors()
    report["asked_for"] = transform()
    yield from new_file()


def finished_later() -> Iterator[float]:
    """Vertex colours first, a texture afterwards."""
    yield from generate("0")
    yield from seen("SOLID", "solid_vertices")
    yield from seen("MATERIAL", "preview_vertices")
    report["solid_before"] = view().shading.color_type
    yield from finish("512")
    report["solid_after"] = view().shading.color_type
    yield from seen("SOLID", "solid_finished")


def splats() -> Iterator[float]:
    """A file of splats, imported into a new file."""
    yield from new_file()
    with window_context():
        bpy.ops.trellis.import_splats(filepath=PLAN["splats"])
    yield 0.5
    report["splats"] = transform()
    screenshot("splats")


def scenario() -> Iterator[float]:
    yield from show_tab()
    yield from left_alone()
    yield from set_up()
    yield from finished_later()
    yield from splats()


run(scenario())
