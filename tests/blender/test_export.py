"""Files on disk: whole or not there, and readable by others."""

import errno
import json
import struct

import bpy
import numpy as np
import pytest
from fake_backend import ball

from blender_trellis.faults import Fault
from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import add_asset
from blender_trellis.scene.export import atomic, export_asset, prepare_folder
from blender_trellis.scene.splat_ply import PROPERTIES, turned, write_splat_ply


def _asset() -> Asset:
    vertices, faces, colors = ball()
    count = len(vertices)
    gaussian = {
        "position": vertices,
        "f_dc": colors,
        "opacity": np.ones((count, 1), np.float32),
        "scale": np.full((count, 3), -4.0, np.float32),
        "rotation": np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
    }
    return Asset("ball", {"vertices": vertices, "faces": faces, "colors": colors}, gaussian, {"seed": 1})


def _export(tmp_path, *kinds: str):
    asset = _asset()
    collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer)
    return export_asset(asset, collection, tmp_path / "ball", kinds)


def test_glb_has_colors_and_stands_upright(tmp_path):
    (path,) = _export(tmp_path, "glb")
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    gltf = json.loads(data[20 : 20 + length])
    assert len(gltf["meshes"]) == 1
    attributes = gltf["meshes"][0]["primitives"][0]["attributes"]
    assert "COLOR_0" in attributes
    assert gltf["accessors"][attributes["POSITION"]]["count"] == len(ball()[0])
    assert gltf["nodes"][0]["extras"]["trellis_seed"] == 1


def test_blend_opens_with_everything(tmp_path):
    (path,) = _export(tmp_path, "blend")
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    assert {item.name for item in bpy.data.collections["ball"].objects} == {"ball", "ball Gaussians"}
    assert bpy.data.objects["ball Gaussians"].modifiers["Splats"].node_group


def test_preview_shows_the_object(tmp_path):
    from blender_trellis.scene.preview import render_preview

    collection = add_asset(_asset(), bpy.context.scene, bpy.context.view_layer)
    render_preview(collection, tmp_path / "preview.png", size=48, samples=2)
    image = bpy.data.images.load(str(tmp_path / "preview.png"))
    assert tuple(image.size) == (3 * 48, 48)
    pixels = np.array(image.pixels).reshape(48, 3, 48, 4)
    background = pixels[0, 0, 0, :3]
    for view in range(3):
        assert np.abs(pixels[24, view, 24, :3] - background).max() > 0.1


def test_splat_ply_is_what_viewers_read(tmp_path):
    gaussian = _asset().gaussian
    write_splat_ply(tmp_path / "a.ply", **gaussian)
    header, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    assert tuple(names) == PROPERTIES
    rows = np.frombuffer(body, "<f4").reshape(-1, len(PROPERTIES))
    x, y, z = gaussian["position"].T
    np.testing.assert_array_equal(rows[:, :3], np.stack([x, -z, y], 1))
    np.testing.assert_array_equal(rows[:, 3:6], 0)
    np.testing.assert_array_equal(rows[:, 6:9], gaussian["f_dc"])


def test_turned_quaternions_turn_the_axes():
    from mathutils import Matrix, Quaternion

    turn = Matrix(((1, 0, 0), (0, 0, -1), (0, 1, 0)))
    random = np.random.default_rng(5).normal(size=(20, 4))
    for before, after in zip(random, turned(random), strict=True):
        expected = turn @ Quaternion(before).normalized().to_matrix()
        np.testing.assert_allclose(np.array(Quaternion(after).to_matrix()), np.array(expected), atol=1e-5)
        assert after[np.abs(after).argmax()] > 0


def test_nothing_half_written_under_the_final_name(tmp_path):
    final = tmp_path / "a.ply"
    final.write_bytes(b"earlier")
    with pytest.raises(Fault, match="no space left"), atomic(final) as path:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert final.read_bytes() == b"earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["a.ply"]


def test_a_bug_in_writing_is_no_fault_of_the_user(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "a.ply") as path:
        path.write_bytes(b"half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be written"):
        prepare_folder(tmp_path / "file" / "folder")


def test_glb_where_the_exporter_is_switched_off(tmp_path):
    import addon_utils

    addon_utils.disable("io_scene_gltf2")
    assert len(_export(tmp_path, "glb")) == 1
