"""Runs inside a windowed Blender with the real backend: changes parts of an asset as a person would.

    blender --python drive_region.py -- PLAN.json

The plan names the folder for screenshots, the picture, the guide, the .blend and the file for the report.
"""

import hashlib
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from bpy_extras import view3d_utils
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).parent))
from driving import (
    ADDON,
    PLAN,
    is_idle,
    kill_backend,
    report,
    run,
    screenshot,
    session,
    show_tab,
    turns,
    until,
    window_context,
)

NAME = "asset"


def find_asset():
    return importlib.import_module(f"{ADDON}.blender_trellis.scene.find_asset")


def state() -> dict[str, object]:
    """The asset's vertices by name, and what all of it together is."""
    collection = bpy.data.collections[NAME]
    digest, vertices = hashlib.sha256(), {}
    for kind, name, item, width in (("mesh", "Color", "color", 4), ("gaussian", "f_dc_0", "value", 1)):
        mesh = find_asset().part(collection, kind).data
        places = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", places)
        looks = np.empty(width * len(mesh.vertices), np.float32)
        mesh.attributes[name].data.foreach_get(item, looks)
        corners = np.empty(len(mesh.loops), np.int32)
        mesh.loops.foreach_get("vertex_index", corners)
        for values in (places, looks, corners):
            digest.update(values.tobytes())
        keys = find_asset().vertex_keys(mesh)
        rows = np.concatenate([places.reshape(-1, 3), looks.reshape(-1, width)], axis=1)
        vertices[kind] = (keys, rows)
    return {"digest": digest.hexdigest(), **vertices}


def texture() -> tuple[np.ndarray, np.ndarray]:
    """Of the finished mesh: its faces' middles (F, 3), and the texels (F, 3) there, 0 to 1."""
    mesh = find_asset().part(bpy.data.collections[NAME], "finished").data
    nodes = mesh.materials[0].node_tree.nodes
    image = next(node.image for node in nodes if node.type == "TEX_IMAGE")
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(image.size[1], image.size[0], -1)
    corners, uv = np.empty(3 * len(mesh.polygons), np.int32), np.empty(6 * len(mesh.polygons), np.float32)
    mesh.loops.foreach_get("vertex_index", corners)
    mesh.uv_layers.active.data.foreach_get("uv", uv)
    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", places)
    column, row = (uv.reshape(-1, 3, 2).mean(axis=1) * image.size).astype(int).T
    return places.reshape(-1, 3)[corners.reshape(-1, 3)].mean(axis=1), pixels[row, column, :3]


def same_texture(before: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether every face lies where it did and has the texel that it had."""
    same_faces = len(before[0]) == len((now := texture())[0])
    return same_faces and all(np.allclose(*pair, atol=1e-3) for pair in zip(before, now, strict=True))


def rendered() -> dict[str, float]:
    """What F12 gives: how much of the picture the asset fills, and how far its colours spread."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = (0, -3, 0), (np.pi / 2, 0, 0)
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.rotation_euler = (0.8, 0, 0.3)
    for one in (camera, sun):
        scene.collection.objects.link(one)
    scene.camera = camera
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 4, False
    scene.render.resolution_x = scene.render.resolution_y = 128
    scene.render.film_transparent = True
    scene.render.filepath = str(Path(PLAN["shots"]) / "render.png")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(-1, 4)
    shown = pixels[pixels[:, 3] > 0.9, :3]
    for one in (camera, sun):
        bpy.data.objects.remove(one)
    return {"share": len(shown) / len(pixels), "spread": float(shown.std(axis=0).max())}


def same_outside(before: dict, after: dict, low: float, high: float) -> dict[str, object]:
    """How many vertices beyond the heights low..high there were, and how many of them are as they were."""
    found = {}
    for kind in ("mesh", "gaussian"):
        (old_keys, old), (keys, rows) = before[kind], after[kind]
        outside = (old[:, 2] < low) | (old[:, 2] > high)
        now = dict(zip(keys.tolist(), map(bytes, rows), strict=True))
        kept = sum(
            now.get(key) == bytes(row)
            for key, row in zip(old_keys[outside].tolist(), old[outside], strict=True)
        )
        found[kind] = [int(outside.sum()), int(kept), len(old), len(rows)]
    return found


def regenerate(name: str) -> Iterator[float]:
    """Presses the button and waits; notes how long the window stood still at most while the job ran."""
    yield 0.5
    turns.clear()
    started = time.monotonic()
    with window_context():
        bpy.ops.trellis.regenerate_region("INVOKE_DEFAULT", True)
    yield from until(is_idle)
    yield 1.0
    gaps = np.diff(turns)
    report[f"{name}_fault"] = session().status().fault
    report[f"{name}_seconds"] = round(time.monotonic() - started, 1)
    report[f"{name}_pauses"] = [round(float(gap), 2) for gap in sorted(gaps)[-3:]]
    screenshot(name)


def drag_lower_face_up(box: bpy.types.Object) -> Iterator[float]:
    """With the mouse, by the arrow below the box, to about the middle of the asset."""
    with window_context():
        area = bpy.context.area
        region = next(region for region in area.regions if region.type == "WINDOW")
        view = area.spaces.active.region_3d
        middle, up = box.matrix_world.translation, box.matrix_world.col[2].xyz
        lower, target = (
            view3d_utils.location_3d_to_region_2d(region, view, place) for place in (middle - up, middle)
        )
        height = bpy.context.window.height
    arrow = lower + 18 * (lower - target).normalized()

    def point(at: Vector) -> None:
        x, y = region.x + at.x, height - (region.y + at.y)
        subprocess.run(["xdotool", "mousemove", str(round(x)), str(round(y))], check=True)

    point(arrow - Vector((0, 3)))
    yield 1.0
    point(arrow)
    yield 2.0
    subprocess.run(["xdotool", "mousedown", "1"], check=True)
    yield 1.0
    for step in range(1, 9):
        point(arrow + (target - lower) * step / 8)
        yield 0.5
    screenshot("2_dragging")
    subprocess.run(["xdotool", "mouseup", "1"], check=True)
    yield 2.0


def scenario() -> Iterator[float]:
    bpy.ops.object.select_all(action="SELECT")
    bpy.ops.object.delete()
    yield from show_tab()
    with window_context():
        bpy.context.scene.trellis.picture = PLAN["picture"]
        bpy.ops.trellis.generate()
    yield from until(is_idle)
    yield 1.0
    report["generate_fault"] = session().status().fault
    collection = bpy.context.object.users_collection[0]
    collection.name = NAME
    bpy.ops.ed.undo_push(message="name")
    yield from added_and_moved()
    yield from removed_undone_redone()
    yield from edited_after_reopening()
    yield from killed()


def added_and_moved() -> Iterator[float]:
    with window_context():
        area = bpy.context.area
        with bpy.context.temp_override(region=next(one for one in area.regions if one.type == "WINDOW")):
            bpy.ops.view3d.view_selected()
        area.spaces.active.shading.color_type = "TEXTURE"
        bpy.ops.trellis.add_region("INVOKE_DEFAULT", True)
    yield 2.0
    box = bpy.context.object
    report["added"] = [box.name, *box.location, *box.scale]
    screenshot("1_region")
    yield from drag_lower_face_up(box)
    box = bpy.context.object
    report["dragged"] = [box.name, *box.location, *box.scale]
    with window_context():
        bpy.ops.ed.undo()
    yield 0.5
    box = bpy.context.object
    report["drag_undone"] = [box.name, *box.location, *box.scale]
    with window_context():
        bpy.ops.ed.redo()
    yield 0.5


def removed_undone_redone() -> Iterator[float]:
    box = bpy.context.object
    lower = box.location.z - box.scale.z
    bpy.context.scene.trellis.region.mode = "remove"
    before, painted = state(), texture()
    yield from regenerate("3_removed")
    after = state()
    report["texture_changed"] = not same_texture(painted)
    # A voxel of the model, and what of the surface may adapt around it.
    report["removed"] = same_outside(before, after, lower - 0.1, 9.0)
    with window_context():
        bpy.ops.ed.undo()
    yield 0.5
    report["undone"] = state()["digest"] == before["digest"]
    report["texture_undone"] = same_texture(painted)
    with window_context():
        bpy.ops.ed.redo()
    yield 0.5
    report["redone"] = state()["digest"] == after["digest"]


def edited_after_reopening() -> Iterator[float]:
    before, painted = state(), texture()
    bpy.ops.wm.save_as_mainfile(filepath=PLAN["blend"])
    bpy.ops.wm.open_mainfile(filepath=PLAN["blend"], load_ui=False)
    yield 2.0
    report["reopened"] = state()["digest"] == before["digest"]
    report["texture_reopened"] = same_texture(painted)
    report["rendered"] = rendered()
    box = bpy.data.objects["Region"]
    bpy.context.view_layer.objects.active = box
    box.location.z, box.scale.z = -0.3, 0.1
    settings = bpy.context.scene.trellis.region
    settings.mode, settings.guide = "look", "PICTURE"
    settings.image = bpy.data.images.load(PLAN["guide"])
    yield from regenerate("4_look")
    report["look_changed"] = state()["digest"] != before["digest"]
    report["history"] = [one["mode"] for one in json.loads(bpy.data.collections[NAME]["trellis_history"])]


def killed() -> Iterator[float]:
    before = state()
    bpy.context.scene.trellis.region.mode = "replace"
    with window_context():
        bpy.ops.trellis.regenerate_region("INVOKE_DEFAULT", True)
    yield from until(lambda: session().status().stage not in ("", "load"))
    report["stage_at_kill"] = session().status().stage
    kill_backend()
    yield from until(is_idle)
    yield 0.5
    report["fault_after_kill"] = session().status().fault
    report["untouched_after_kill"] = state()["digest"] == before["digest"]
    screenshot("5_killed")


run(scenario())
