"""A large result goes into the scene little by little: whole or not at all, whatever comes in between."""

import bpy
import numpy as np
import pytest
from fake_backend import ball

from blender_trellis.jobs import session
from blender_trellis.png import png_of
from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import HALF, asset_steps, remove_half_made
from blender_trellis.scene.find_asset import part
from tests.waiting import PATIENCE, wait_until


def _asset() -> Asset:
    vertices, faces, colors = ball()
    count = len(vertices)
    mesh = {"vertices": vertices, "faces": faces, "colors": colors, "keys": np.arange(count, dtype=np.int32)}
    splats = {
        "position": vertices,
        "f_dc": colors,
        "opacity": np.ones((count, 1), np.float32),
        "scale": np.full((count, 3), -4.0, np.float32),
        "rotation": np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        "keys": np.arange(count, dtype=np.int32),
    }
    texture = np.zeros((8, 8, 3), np.uint8)
    finished = {**mesh, "uv": np.zeros((len(faces), 3, 2), np.float32), "texture": texture}
    return Asset("crate", mesh=mesh, gaussian=splats, finished=finished)


def _made() -> list[bpy.types.ID]:
    kinds = (bpy.data.collections, bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.images)
    return [block for kind in kinds for block in kind]


def test_wherever_it_is_given_up_nothing_is_left():
    count = sum(one is None for one in asset_steps(_asset()))
    remove_half_made()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert count > 15
    for number in range(1, count + 1):
        steps = asset_steps(_asset())
        for _ in range(number):
            assert next(steps) is None
        assert _made() and all(HALF in block for block in _made())
        assert not bpy.context.scene.collection.children  # nothing of it is to be seen
        steps.close()
        assert _made() == []


def test_what_an_undo_brings_back_is_taken_away():
    steps = asset_steps(_asset())
    next(steps)
    keeps = bpy.data.meshes.new("an artist's own")
    remove_half_made()
    assert _made() == [keeps]


@pytest.fixture
def little_by_little(monkeypatch):
    """Every turn does one step."""
    monkeypatch.setattr(session.results, "IMPORT_SECONDS", 0.0)


def _half_way(picture) -> None:
    bpy.context.scene.trellis.picture = str(picture())
    bpy.ops.trellis.generate()
    wait_until(lambda: session.state.current().importer.is_busy, meanwhile=session.timer.tick)
    session.timer.tick()
    assert any(HALF in block for block in _made())


@pytest.mark.parametrize("event", ["load", "save", "purge", "disable"])
def test_what_comes_in_between_begins_it_anew(addon, picture, little_by_little, tmp_path, event):
    _half_way(picture)
    if event == "load":
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    elif event == "save":
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
        assert not any(HALF in block for block in _made())
    elif event == "purge":
        bpy.data.orphans_purge()
    elif event == "disable":
        addon.unregister()
        assert not any(HALF in block for block in _made())
        addon.register()
        session.state.current().keeper.left()
        session.continue_left()
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    names = {item.name for item in bpy.data.objects}
    assert names == {"crate", "crate Raw", "crate Gaussians", "crate Root"}
    assert not any(HALF in block for block in _made())
    assert len(bpy.data.meshes) == 4  # and the one that carries the latents


@pytest.mark.parametrize("then", ["nothing", "save"])
def test_an_undo_to_its_middle_leaves_nothing_half_made(addon, picture, little_by_little, tmp_path, then):
    """Once the result is in the scene, and no other one is to come."""
    bpy.ops.ed.undo_push(message="before")
    _half_way(picture)
    bpy.ops.ed.undo_push(message="in the middle")
    assert session.pump_until_done(PATIENCE)
    bpy.ops.ed.undo_push(message="placed")
    bpy.ops.ed.undo()
    assert any(HALF in block for block in _made()) and "crate" not in bpy.context.scene.collection.children
    assert bpy.app.timers.is_registered(session.timer.tick)
    if then == "save":
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    else:
        session.timer.tick()
    assert not any(HALF in block for block in _made())
    bpy.ops.ed.redo()
    assert "crate" in bpy.context.scene.collection.children


@pytest.mark.parametrize("event", ["nothing", "paint", "load"])
def test_an_edit_goes_in_little_by_little_and_keeps_what_is_done_meanwhile(
    addon, picture, little_by_little, event
):
    settings = bpy.context.scene.trellis
    settings.formats, settings.finish.preset, settings.finish.texture = {"mesh"}, "raw", "0"
    settings.picture = str(picture())
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE)
    collection = bpy.data.collections["crate"]
    bpy.context.view_layer.objects.active = part(collection, "mesh")
    bpy.ops.trellis.add_region()
    box = bpy.context.object
    box.location.z, box.scale.z = 0.2, 0.21  # the upper half
    guide = bpy.data.images.new("guide.png", 1, 1)
    guide.pack(data=b"guide", data_len=5)
    guide.source = "FILE"
    settings.region.guide, settings.region.image = "PICTURE", guide
    bpy.context.view_layer.update()
    assert bpy.ops.trellis.regenerate_region() == {"FINISHED"}
    wait_until(lambda: session.state.current().importer.is_busy, meanwhile=session.timer.tick)
    mesh = part(collection, "mesh").data
    lowest = min(range(len(mesh.vertices)), key=lambda index: mesh.vertices[index].co.z)
    for _ in range(4):
        session.timer.tick()
    assert part(collection, "mesh").data == mesh  # not before it is whole
    if event == "paint":
        mesh.vertices[lowest].co.z -= 0.125
        mesh.update()
        bpy.context.view_layer.update()
        assert not session.state.current().importer.is_busy
    elif event == "load":
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert session.pump_until_done(PATIENCE)
    assert not any(HALF in block for block in _made())
    if event == "load":
        assert "was removed" in session.status().fault and "crate" in bpy.data.collections
        return
    after = part(collection, "mesh").data
    assert after != mesh and not session.status().fault
    depth = min(vertex.co.z for vertex in after.vertices)
    assert depth == pytest.approx(-0.525 if event == "paint" else -0.4, abs=1e-5)


def test_a_png_is_read_by_blender_as_it_was(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (5, 7, 3), np.uint8)
    (tmp_path / "p.png").write_bytes(png_of(pixels))
    image = bpy.data.images.load(str(tmp_path / "p.png"))
    found = np.array(image.pixels[:]).reshape(5, 7, 4)
    assert np.array_equal(np.round(found[::-1, :, :3] * 255).astype(np.uint8), pixels)
