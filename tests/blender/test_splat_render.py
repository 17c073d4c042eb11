"""F12 shows what a splatting rasteriser shows: projected Gaussians, front to back, in display colours."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix
from splat_reference import ANGLE, CAMERA, SIZE, Picture, cloud, psnr, rasterised, tangle, thinned

from blender_trellis.scene.display.colors import use_colors
from blender_trellis.scene.gaussians.edit import import_splats, splats_in_world
from blender_trellis.scene.gaussians.nodes import FACING, WIDENING, set_input
from blender_trellis.scene.gaussians.object import MODIFIER
from blender_trellis.scene.gaussians.settings import raise_bounces
from blender_trellis.splats import harmonics
from blender_trellis.splats.ply import write_ply
from blender_trellis.splats.values import Splats


def _camera() -> bpy.types.Object:
    scene = bpy.context.scene
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.angle, camera.matrix_world = ANGLE, CAMERA
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def _rendered(path: Path, engine: str, samples: int) -> np.ndarray:
    """(height, width, 3) on black, from a film with alpha."""
    scene = bpy.context.scene
    scene.render.engine = engine
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"
    scene.cycles.samples, scene.cycles.use_denoising = samples, False
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    width, height = image.size
    pixels = np.array(image.pixels).reshape(height, width, 4)[::-1]
    return pixels[..., :3] * pixels[..., 3:]


@pytest.mark.parametrize(
    "degree, colors, least", [(0, "STANDARD", 28), (3, "STANDARD", 28), (3, "VIEWERS", 32)]
)
def test_cycles_agrees_with_a_rasteriser(tmp_path, degree, colors, least):
    splats = cloud(300, harmonics.COUNTS[degree])
    item = import_splats("ball", splats, "NEGATIVE_Y", bpy.context)
    item.location, item.scale = (0.1, 0.05, 0.02), (1.2, 1.2, 1.2)
    camera = _camera()
    raise_bounces(bpy.context.scene)
    use_colors(bpy.context.scene, colors)
    found = _rendered(tmp_path / "a.png", "CYCLES", 12)
    expected = rasterised(splats, item.matrix_world.inverted() @ camera.matrix_world)
    assert (expected.sum(axis=2) > 0.5).mean() > 0.2
    assert psnr(found, expected) > least
    plain = Splats.plain({name: getattr(splats, name) for name in splats.__dict__ if name != "f_rest"})
    if degree:  # what the harmonics add is seen, and as it should be
        without = rasterised(plain, item.matrix_world.inverted() @ camera.matrix_world)
        assert psnr(found, expected) > psnr(found, without) + 3


def test_splats_across_each_other_are_drawn_in_the_order_of_viewers(tmp_path):
    """Moved, turned and scaled along its axes: the rasteriser draws the same splats with that applied."""
    splats = tangle(400)
    item = import_splats("tangle", splats, "Z", bpy.context)
    item.matrix_world = Matrix.LocRotScale((0.1, 0.2, -0.1), Euler((0.5, 0.2, 1.0)), (1.1, 0.7, 0.9))
    bpy.context.view_layer.update()
    camera = _camera()
    raise_bounces(bpy.context.scene)
    use_colors(bpy.context.scene, "VIEWERS")
    expected = rasterised(splats_in_world(item), camera.matrix_world)
    assert psnr(_rendered(tmp_path / "cards.png", "CYCLES", 8), expected) > 30
    set_input(item.modifiers[MODIFIER], FACING, False)
    item.update_tag()  # whole hulls, by whose surfaces the colours of splats across each other are mixed
    assert 15 < psnr(_rendered(tmp_path / "hulls.png", "CYCLES", 4), expected) < 28


NEEDLES, DOTS, PLATES = (0.02, 0.02, 0.5), (0.03, 0.03, 0.03), (0.005, 0.7, 0.7)


@pytest.mark.parametrize("factors", [NEEDLES, DOTS, PLATES])
def test_splats_thinner_than_a_pixel_are_as_wide_as_rasterisers_make_them(tmp_path, factors):
    splats = thinned(tangle(300), factors)
    item = import_splats("thin", splats, "Z", bpy.context)
    item.scale = (0.9, 1.2, 1.0)
    bpy.context.view_layer.update()
    camera = _camera()
    raise_bounces(bpy.context.scene)
    use_colors(bpy.context.scene, "VIEWERS")
    found = _rendered(tmp_path / "a.png", "CYCLES", 2)
    moved = splats_in_world(item)
    assert psnr(found, rasterised(moved, camera.matrix_world)) > 40
    assert psnr(found, rasterised(moved, camera.matrix_world, low_pass=1e-4)) < 32
    set_input(item.modifiers[MODIFIER], WIDENING, 0.3)
    item.update_tag()
    found = _rendered(tmp_path / "b.png", "CYCLES", 2)
    assert psnr(found, rasterised(moved, camera.matrix_world, low_pass=0.3)) > 40
    use_colors(bpy.context.scene, "STANDARD")  # Blender's own pixel filter blurs them
    found = _rendered(tmp_path / "c.png", "CYCLES", 16)
    assert psnr(found, rasterised(moved, camera.matrix_world, low_pass=0.3)) > 25


def _shifted(scene: bpy.types.Scene, camera: bpy.types.Object) -> Picture:
    camera.data.shift_x, camera.data.shift_y = 0.1, -0.2
    return Picture(centre=(SIZE / 2 - 0.1 * SIZE, SIZE / 2 - 0.2 * SIZE))


def _wide_pixels(scene: bpy.types.Scene, camera: bpy.types.Object) -> Picture:
    scene.render.resolution_x, scene.render.pixel_aspect_x = SIZE // 2, 2.0
    camera.data.sensor_fit, camera.scale = "HORIZONTAL", (3.0, 3.0, 3.0)
    return Picture((SIZE // 2, SIZE), (SIZE * 0.8, SIZE * 1.6), (SIZE / 4, SIZE / 2))


def _half_of_a_tall_one(scene: bpy.types.Scene, camera: bpy.types.Object) -> Picture:
    scene.render.resolution_y, scene.render.resolution_percentage = 2 * SIZE, 50
    camera.data.sensor_fit, camera.data.sensor_height = "VERTICAL", 24.0
    camera.data.lens = 24.0
    return Picture((SIZE // 2, SIZE), (SIZE, SIZE), (SIZE / 4, SIZE / 2))


def _parallel(scene: bpy.types.Scene, camera: bpy.types.Object) -> Picture:
    camera.data.type, camera.data.ortho_scale, camera.scale = "ORTHO", 1.4, (0.5, 0.5, 0.5)
    return Picture(focal=(SIZE / 1.4, SIZE / 1.4), parallel=True)


@pytest.mark.parametrize("change", [_shifted, _wide_pixels, _half_of_a_tall_one, _parallel])
def test_every_kind_of_camera_widens_by_its_own_pixels(tmp_path, change):
    splats = thinned(tangle(300), NEEDLES)
    splats = replace(
        splats, f_rest=np.random.default_rng(3).normal(size=(300, 3, 15)).astype(np.float32) * 0.1
    )
    item = import_splats("thin", splats, "Z", bpy.context)
    item.rotation_euler, item.scale = (0.4, 0.1, 0.8), (1.1, 0.8, 0.9)
    camera = _camera()
    bpy.context.view_layer.update()
    view = camera.matrix_world.copy()
    picture = change(bpy.context.scene, camera)
    raise_bounces(bpy.context.scene)
    use_colors(bpy.context.scene, "VIEWERS")
    found = _rendered(tmp_path / "a.png", "CYCLES", 2)
    bpy.context.view_layer.update()
    assert psnr(found, rasterised(splats_in_world(item), view, picture)) > 38


_PLACE = Matrix.LocRotScale((0.1, 0, 0), Euler((0.4, 0.2, 0.9)), (1, 1, 1))
STRETCH, MIRROR, INVERT, SQUASH = (1.4, 0.5, 1.0), (1.0, -0.8, 1.2), (-1.0, -1.0, -1.0), (1.0, 1.0, 0.05)


@pytest.mark.parametrize("scale", [STRETCH, MIRROR, INVERT, SQUASH])
@pytest.mark.parametrize("way", ["own", "parent"])
def test_a_transformed_object_looks_as_with_the_transform_applied(tmp_path, scale, way):
    """Strong harmonics. Under a parent's scale, a turned child is sheared."""
    strong = np.random.default_rng(3).normal(size=(300, 3, 15)).astype(np.float32) * 0.3
    item = import_splats("tangle", replace(tangle(300), f_rest=strong), "Z", bpy.context)
    if way == "parent":
        parent = bpy.data.objects.new("Parent", None)
        bpy.context.scene.collection.objects.link(parent)
        parent.matrix_world, parent.scale = _PLACE, scale
        item.parent, item.rotation_euler = parent, (0.2, 0.3, 0.5)
    else:
        item.matrix_world = _PLACE
        item.scale = scale
    bpy.context.view_layer.update()
    camera = _camera()
    raise_bounces(bpy.context.scene)
    use_colors(bpy.context.scene, "VIEWERS")
    expected = rasterised(splats_in_world(item), camera.matrix_world)
    assert psnr(_rendered(tmp_path / "a.png", "CYCLES", 2), expected) > 40


def test_the_nodes_know_the_pixels_without_scripts():
    """So they hold on a farm, where the add-on is not and scripts may not run."""
    import_splats("few", cloud(3), "Z", bpy.context)
    tree = bpy.data.objects["few"].modifiers[MODIFIER].node_group
    drivers = [curve.driver for curve in tree.animation_data.drivers]
    assert len(drivers) == 3
    assert all(driver.is_simple_expression and driver.is_valid for driver in drivers)


def test_the_comparison_script_renders_a_file(tmp_path):
    write_ply(tmp_path / "few.ply", cloud(100))
    script = Path(__file__).resolve().parents[2] / "scripts" / "splat_sheet.py"
    values = [tmp_path / "few.ply", "STANDARD", SIZE, 4, 1.6, tmp_path / "picture.png"]
    said = subprocess.run(
        [sys.executable, script, "--render", *map(str, values)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    pixels = np.array(bpy.data.images.load(str(values[-1])).pixels).reshape(SIZE, SIZE, 4)
    assert 0.2 < pixels[..., 3].mean() < 0.9
