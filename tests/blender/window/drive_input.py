"""Runs inside a windowed Blender: takes pictures of the 3D view, drops a file, looks at a cut-out.

blender --python drive_input.py -- PLAN.json
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from driving import PLAN, report, run, screenshot, session, show_tab, until, window_context


def pixels_of(image: bpy.types.Image) -> np.ndarray:
    """(H, W, 4) uint8, the lowest row first."""
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return np.round(values * 255).astype(np.uint8).reshape(image.size[1], image.size[0], 4)


def capture() -> dict[str, object]:
    """Takes the 3D view as picture: how much it shows, and what of the scene is other than before."""
    with window_context():
        bpy.ops.trellis.use_viewport()
        overlays = bpy.context.area.spaces.active.overlay.show_overlays
    image = bpy.context.scene.trellis.pictures[0].image
    pixels = pixels_of(image)
    shown = pixels[pixels[..., 3] == 255][:, :3].astype(int)
    return {
        "size": tuple(image.size),
        "corners": [int(pixels[y, x, 3]) for x in (0, -1) for y in (0, -1)],
        "share": float((pixels[..., 3] > 0).mean()),
        "color_spread": int((shown.max(axis=1) - shown.min(axis=1)).max()),
        "packed": image.packed_file is not None,
        "overlays": overlays,
        "hidden": [one.name for one in bpy.context.view_layer.objects if one.hide_get()],
    }


def blue_on_screen() -> int:
    """How many pixels of the screen are as blue as the fake backend's cut-out."""
    screenshot("cut_out")
    image = bpy.data.images.load(str(Path(PLAN["shots"]) / "cut_out.png"))
    pixels = pixels_of(image).astype(int)
    bpy.data.images.remove(image)
    return int(((pixels[..., 2] > 240) & (pixels[..., :2].max(axis=2) < 15)).sum())


def scenario() -> Iterator[float]:
    yield from show_tab()
    settings = bpy.context.scene.trellis
    with window_context():
        bpy.ops.mesh.primitive_cube_add(location=(4, 0, 0))
    other = bpy.context.object
    for one in bpy.context.selected_objects:
        one.select_set(False)
    report["all"] = capture()
    other.select_set(True)
    report["selected"] = capture()
    file = Path(PLAN["picture"])
    with window_context():
        asked = bpy.ops.wm.drop_import_file(
            "INVOKE_DEFAULT", directory=str(file.parent), files=[{"name": file.name}]
        )
        report["drop"] = sorted(asked)
        bpy.ops.trellis.drop_pictures(directory=str(file.parent), files=[{"name": file.name}])
    yield 0.5
    screenshot("drop")
    report["before"] = blue_on_screen()
    settings.shows_cut_out = True
    yield from until(lambda: session().cut_out().ended)
    yield 1.0
    report["after"] = blue_on_screen()


run(scenario())
