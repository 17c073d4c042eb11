"""Runs inside a windowed Blender: an artist's first minutes, with the mouse where one would use it.

blender --python drive_first_use.py -- PLAN.json
"""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from bpy_extras import view3d_utils
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).parent))
from driving import ADDON, PLAN, is_idle, report, run, screenshot, session, show_tab, until, window_context

GENERATE = "bpy.ops.trellis.generate()"
FAR = 24  # of 255; how much a colour must change to count


def screen(name: str) -> np.ndarray:
    """(H, W, 3) int of the screen, the lowest row first."""
    screenshot(name)
    image = bpy.data.images.load(str(Path(PLAN["shots"]) / f"{name}.png"))
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    shown = np.round(values * 255).astype(int).reshape(image.size[1], image.size[0], -1)[..., :3]
    bpy.data.images.remove(image)
    return shown


def in_view(shown: np.ndarray) -> np.ndarray:
    """The middle of the 3D view, where no sidebar, header or gizmo lies."""
    with window_context():
        region = next(one for one in bpy.context.area.regions if one.type == "WINDOW")
    rows = slice(region.y + region.height // 4, region.y + 3 * region.height // 4)
    return shown[rows, region.x + region.width // 4 : region.x + 5 * region.width // 8]


def point(x: float, y: float) -> None:
    """The mouse to a place of the window, from its lower left."""
    height = bpy.context.window_manager.windows[0].height
    subprocess.run(["xdotool", "mousemove", str(round(x)), str(round(height - y))], check=True)


def press(*words: str) -> None:
    subprocess.run(["xdotool", *words], check=True)


def find_button(command: str) -> Iterator[float]:
    """Goes down the sidebar until the button under the mouse is that of the command, as Ctrl-C tells."""
    manager = bpy.context.window_manager
    with window_context():
        region = bpy.context.region
        x, top, bottom = region.x + 0.45 * region.width, region.y + region.height, region.y
    manager.clipboard = ""
    for y in range(top - 8, bottom, -14):
        point(x, y)
        yield 0.1
        press("key", "ctrl+c")
        yield 0.1
        if manager.clipboard.startswith(command.removesuffix(")")):
            return
    raise AssertionError(f"there is no button {command}")


def clicked() -> Iterator[float]:
    """Generate, by the mouse; what can be seen of a job that is in its first step."""
    settings = bpy.context.scene.trellis
    settings.picture = PLAN["slow"]
    yield 2.0
    before = in_view(screen("1_before"))  # and before a tooltip lies over it
    yield from find_button(GENERATE)
    press("click", "1")
    yield from until(lambda: session().growing() is not None)
    report["is_making"] = session().status().stage
    yield 2.0
    during = in_view(screen("2_growing"))
    report["changed"] = float((np.abs(during - before).max(axis=-1) > FAR).mean())
    report["objects_while_growing"] = len(bpy.data.objects)
    with window_context():
        bpy.ops.trellis.cancel()
    yield from until(is_idle)
    yield 1.0
    after = in_view(screen("3_cancelled"))
    report["changed_after_cancel"] = float((np.abs(after - before).max(axis=-1) > FAR).mean())


def candidates() -> Iterator[float]:
    """Two shapes; one is picked by a click on it and finished."""
    settings = bpy.context.scene.trellis
    settings.picture, settings.candidates = PLAN["picture"], 2
    with window_context():
        bpy.ops.trellis.make_candidates()
    yield from until(lambda: len(session().candidates()) == 2 and is_idle())
    yield 3.0  # the view turns to them
    drawing = importlib.import_module(f"{ADDON}.blender_trellis.ui.candidates.drawing")
    with window_context():
        region = next(one for one in bpy.context.area.regions if one.type == "WINDOW")
        view = bpy.context.area.spaces.active.region_3d
        corners = drawing.drawn(bpy.context)[1].corners()
    at = view3d_utils.location_3d_to_region_2d(region, view, sum(corners, Vector()) / 8)
    point(region.x + at.x - 3, region.y + at.y)
    yield 1.0
    point(region.x + at.x, region.y + at.y)
    yield 1.0
    press("click", "1")
    yield 2.0
    screen("4_picked")
    report["picked"] = [one.number for one in session().candidates() if one.picked]
    with window_context():
        bpy.ops.trellis.finish_picked()
    yield from until(is_idle)
    yield 1.0
    screen("5_finished")
    report["made"] = sorted(one.name for one in bpy.data.objects)
    report["left_to_pick"] = [one.number for one in session().candidates()]


def saved() -> Iterator[float]:
    """The file again, from the disk."""
    blend = str(Path(PLAN["shots"]) / "saved.blend")
    before = described()
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.read_homefile(use_factory_startup=False, load_ui=False)
    bpy.ops.wm.open_mainfile(filepath=blend, load_ui=False)
    yield 1.0
    report["reopened"], report["saved"] = described(), before
    root = bpy.data.objects[f"{Path(PLAN['picture']).stem} Root"]
    bpy.context.view_layer.objects.active = root
    report["made_again"] = bpy.ops.trellis.regenerate_this.poll()


def described() -> dict[str, list[float]]:
    """Every object, and how much it is."""
    return {
        one.name: [*one.matrix_world.translation, len(one.data.vertices) if one.type == "MESH" else 0]
        for one in bpy.data.objects
    }


def scenario() -> Iterator[float]:
    report["enabled"] = ADDON in bpy.context.preferences.addons
    for one in list(bpy.data.objects):
        bpy.data.objects.remove(one)
    yield from show_tab()
    with window_context():
        view = bpy.context.area.spaces.active.region_3d
        view.view_location, view.view_distance = (0.0, 0.0, 0.4), 4.0
        bpy.context.area.tag_redraw()
    yield 1.0
    yield from clicked()
    yield from candidates()
    yield from saved()
    bpy.ops.preferences.addon_disable(module=ADDON)
    report["left"] = [name for name in dir(bpy.types) if "trellis" in name.lower()]


run(scenario())
