"""Vary and Retexture with the real backend and the bundled model: what comes back, and where."""

from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_trellis.jobs import session
from blender_trellis.scene.find_asset import part, world_matrix
from blender_trellis.scene.latents import read_latents

ROOT = Path(__file__).parents[2]
REAL = ROOT / ".venv" / "bin" / "python"
PATIENCE = 1200.0

pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the backend's environment is not set up")


@pytest.fixture
def real(monkeypatch, tmp_path):
    """The add-on with the real backend; variants are guided by a picture of a green mushroom."""
    import blender_trellis

    monkeypatch.setenv("TRELLIS_PYTHON", str(REAL))
    monkeypatch.setenv("HOME", str(tmp_path))
    blender_trellis.register()
    settings = bpy.context.scene.trellis
    settings.formats, settings.picture = {"mesh"}, str(ROOT / "docs" / "pictures" / "mushroom.png")
    settings.vary.guide, settings.vary.image = "PICTURE", green()
    yield settings
    blender_trellis.unregister()


def green() -> bpy.types.Image:
    """The picture with its red and green exchanged."""
    image = bpy.data.images.load(str(ROOT / "docs" / "pictures" / "mushroom.png"))
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(-1, 4)[:, [1, 0, 2, 3]]
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    return image


def done() -> None:
    assert session.pump_until_done(PATIENCE)
    assert not session.status().fault, session.status()
    bpy.context.view_layer.update()


def places(item: bpy.types.Object) -> np.ndarray:
    values = np.empty(3 * len(item.data.vertices), np.float32)
    item.data.vertices.foreach_get("co", values)
    matrix = np.array(world_matrix(item))  # Blender does not evaluate that of a hidden object
    return values.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]


def greenness(item: bpy.types.Object, name: str) -> float:
    """How much more green than red there is, on the whole."""
    attribute = item.data.color_attributes[name]
    colors = np.empty(4 * len(attribute.data), np.float32)
    attribute.data.foreach_get("color", colors)
    red, green, _, _ = colors.reshape(-1, 4).mean(axis=0)
    return float(green - red)


def test_an_asset_a_mesh_and_an_artists_own_mesh_take_another_picture(real):
    bpy.ops.trellis.generate()
    done()
    mushroom = bpy.data.collections["mushroom"]
    assert greenness(part(mushroom, "mesh"), "Color") < -0.05  # the picture's cap is red

    bpy.ops.trellis.vary()
    done()
    variant = bpy.data.collections["mushroom Variant"]
    before, after = read_latents(mushroom).arrays, read_latents(variant).arrays
    assert np.array_equal(before["coords"], after["coords"])  # the voxels are kept
    assert not np.array_equal(before["feats"], after["feats"])
    assert greenness(part(variant, "mesh"), "Color") > 0.05

    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, location=(3, -7, 2))
    ball = bpy.context.object
    ball.name, ball.scale = "Ball", (1.0, 1.0, 2.0)
    bpy.context.view_layer.update()
    bpy.ops.trellis.vary()
    done()
    varied = places(part(bpy.data.collections["Ball Variant"], "mesh"))
    own = places(ball)
    # A voxel of the longest side, 4 metres in 64.
    assert np.abs(varied.min(axis=0) - own.min(axis=0)).max() < 0.15
    assert np.abs(varied.max(axis=0) - own.max(axis=0)).max() < 0.15

    for item in bpy.context.selected_objects:
        item.select_set(False)
    ball.select_set(True)
    bpy.context.view_layer.objects.active = ball
    bpy.ops.trellis.retexture()
    done()
    assert np.array_equal(places(ball), own) and ball.data.uv_layers.active is not None
    assert greenness(ball, "Retexture") > 0.03
