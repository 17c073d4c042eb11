"""A yellow picture gives a yellow asset in a render with Blender's own settings, and in Solid view."""

import colorsys
import math
from dataclasses import replace

import bpy
import numpy as np
import pytest
from fake_backend import YELLOW, ball

from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import add_asset
from blender_trellis.scene.display.colors import set_up_colors
from blender_trellis.scene.find_asset import part
from blender_trellis.scene.placement import Standing
from blender_trellis.scene.raw_arrays import texture_arrays


def _asset(textured: bool, surface: tuple[float, float]) -> Asset:
    vertices, faces, _ = ball()
    colors = np.tile(np.array(YELLOW, np.float32) / 255, (len(vertices), 1))
    mesh = {"vertices": vertices, "faces": faces, "colors": colors}
    if not textured:
        return Asset("ball", mesh=mesh)
    texture = np.empty((16, 16, 3), np.uint8)
    texture[:] = YELLOW
    uv = np.full((len(faces), 3, 2), 0.5, np.float32)
    return Asset("ball", mesh=mesh, finished=mesh | {"uv": uv, "texture": texture}, surface=surface)


def _rendered(path) -> np.ndarray:
    """The mean colour of the lit half, as a screen shows it."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 16, False
    scene.render.resolution_x = scene.render.resolution_y = 48
    scene.render.film_transparent, scene.render.image_settings.color_mode = True, "RGBA"
    scene.camera.location, scene.camera.rotation_euler = (0, -3, 1.5), (math.radians(65), 0, 0)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    pixels = np.array(bpy.data.images.load(str(path)).pixels).reshape(-1, 4)
    covered = pixels[pixels[:, 3] > 0.99, :3]
    return covered[covered.sum(axis=1) > np.median(covered.sum(axis=1))].mean(axis=0)


@pytest.mark.parametrize("textured, roughness", [(True, 1.0), (True, 0.25), (False, 1.0)])
@pytest.mark.parametrize("transform", ["AgX", "Standard"])
def test_hue_and_saturation_stay(tmp_path, textured, roughness, transform):
    """With the light and the world of a new file, as Blender makes it and as it is set up."""
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    asset = _asset(textured, (roughness, 0.0))
    collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer)
    part(collection, "root").location = (0, 0, 0)
    if transform == "Standard":
        set_up_colors(bpy.context.scene)
    assert bpy.context.scene.view_settings.view_transform == transform
    hue, saturation, _ = colorsys.rgb_to_hsv(*_rendered(tmp_path / "a.png"))
    wanted, vivid, _ = colorsys.rgb_to_hsv(*(value / 255 for value in YELLOW))
    assert abs(hue - wanted) * 360 < 6 and abs(saturation - vivid) < 0.1


def test_solid_view_has_a_texture_to_show_and_vertex_colours(tmp_path):
    """Solid view draws the active image of a material or the active colours, whichever it is set to."""
    collection = add_asset(_asset(True, (1.0, 0.0)), bpy.context.scene, bpy.context.view_layer)
    mesh = part(collection, "finished").data
    active = mesh.materials[0].node_tree.nodes.active
    assert active.type == "TEX_IMAGE" and active.image.packed_file is not None
    assert mesh.uv_layers.active is not None and mesh.color_attributes.active_color is not None


def test_the_finished_texture_goes_along_with_an_edit():
    asset = _asset(True, (1.0, 0.0))
    random = np.random.default_rng(0)
    texture = random.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    uv = random.random(asset.finished["uv"].shape).astype(np.float32)
    asset = replace(asset, finished={**asset.finished, "texture": texture, "uv": uv})
    collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer, standing=Standing(height=2.0))
    arrays = texture_arrays(collection)
    assert (arrays["finished_texture"] == texture).all()
    np.testing.assert_allclose(arrays["finished_vertices"], asset.finished["vertices"], atol=1e-6)
    # Each face has its own corners and coordinates, in whatever order.
    wanted = np.concatenate([asset.finished["vertices"][asset.finished["faces"]], uv], axis=2)
    found = np.concatenate(
        [arrays["finished_vertices"][arrays["finished_faces"]], arrays["finished_uv"]], axis=2
    )
    np.testing.assert_allclose(np.sort(found.reshape(-1, 5), 0), np.sort(wanted.reshape(-1, 5), 0), atol=1e-5)
    part(collection, "finished").data.materials.clear()
    assert texture_arrays(collection) == {}
