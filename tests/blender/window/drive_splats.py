"""Runs inside a windowed Blender: turns a view on many splats, saves in mid-turn, and renders with EEVEE.

blender --python drive_splats.py -- PLAN.json
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
from mathutils import Matrix, Quaternion

sys.path.insert(0, str(Path(__file__).parent))
from driving import PLAN, report, run, screenshot, window_context


def view() -> bpy.types.RegionView3D:
    with window_context():
        return bpy.context.area.spaces.active.region_3d


def turn() -> None:
    view().view_rotation = Quaternion((0, 0, 1), 0.05) @ view().view_rotation


def imported(path: str) -> bpy.types.Object:
    with window_context():
        bpy.ops.trellis.import_splats(filepath=path)
        return bpy.context.selected_objects[0]


def turned() -> Iterator[float]:
    """Turns the view on 120,000 splats until it shows points, saves, and lets the view rest."""
    item = imported(PLAN["many"])
    name = item.name
    view().view_distance = 3.0
    yield 2.0
    screenshot("still")
    seen = []
    for _ in range(12):
        turn()
        yield 0.12
        seen.append(bpy.data.objects[name].display_type)
    screenshot("moving")
    report["while_moving"] = seen
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(PLAN["shots"]) / "moving.blend"))
    report["when_saved"] = bpy.data.objects[name].display_type
    turn()
    yield 0.5
    yield 1.5
    report["at_rest"] = bpy.data.objects[name].display_type
    report["left_over"] = [key for key in bpy.data.objects[name].keys() if "shown" in key]
    bpy.data.objects.remove(bpy.data.objects[name])


def rendered() -> None:
    """F12 of EEVEE, from the plan's camera."""
    imported(PLAN["few"])
    scene = bpy.context.scene
    for item in [item for item in scene.objects if item.type in ("LIGHT", "CAMERA")]:
        bpy.data.objects.remove(item)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.angle, camera.matrix_world = PLAN["angle"], Matrix(PLAN["camera"])
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.trellis.true_colors(colors="STANDARD")
    scene.render.engine = "BLENDER_EEVEE" if bpy.app.version >= (5, 0) else "BLENDER_EEVEE_NEXT"
    scene.eevee.taa_render_samples = 8
    scene.render.resolution_x = scene.render.resolution_y = PLAN["size"]
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = PLAN["picture"]
    bpy.ops.render.render(write_still=True)


def scenario() -> Iterator[float]:
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    yield from turned()
    rendered()
    yield 0.1


run(scenario())
