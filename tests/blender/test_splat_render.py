"""F12 shows what a splatting rasteriser shows: projected Gaussians, front to back, in display colours."""

import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix
from splat_reference import ANGLE, CAMERA, SIZE, cloud, psnr, rasterised, tangle

from blender_trellis.scene.display.colors import use_colors
from blender_trellis.scene.gaussians.edit import import_splats, splats_in_world
from blender_trellis.scene.gaussians.nodes import FACING, set_input
from blender_trellis.scene.gaussians.object import MODIFIER
from blender_trellis.scene.gaussians.settings import raise_bounces
from blender_trellis.splats import harmonics
from blender_trellis.splats.ply import write_ply
from blender_trellis.splats.values import Splats


def _camera() -> bpy.types.Object:
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.angle, camera.matrix_world = ANGLE, CAMERA
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def _rendered(path: Path, engine: str, samples: int) -> np.ndarray:
    """(SIZE, SIZE, 3) on black, from a film with alpha."""
    scene = bpy.context.scene
    scene.render.engine = engine
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"
    scene.cycles.samples, scene.cycles.use_denoising = samples, False
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    pixels = np.array(image.pixels).reshape(SIZE, SIZE, 4)[::-1]
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
