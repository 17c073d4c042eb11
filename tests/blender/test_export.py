"""Files on disk: whole or not there, and readable by others."""

import dataclasses
import errno
import json
import os
import shutil
import struct
from pathlib import Path

import bpy
import numpy as np
import pytest
from fake_backend import ball

from blender_trellis.faults import Fault
from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import add_asset
from blender_trellis.scene.export import atomic, check_targets, export_asset, operator_reason, prepare_folder


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
    mesh = {"vertices": vertices, "faces": faces, "colors": colors}
    return Asset("ball", mesh=mesh, gaussian=gaussian, properties={"seed": 1})


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
    assert {item.name for item in bpy.data.collections["ball"].objects} == {
        "ball",
        "ball Gaussians",
        "ball Root",
    }
    assert bpy.data.objects["ball Gaussians"].modifiers["Splats"].node_group
    assert bpy.context.scene.view_settings.view_transform == "Standard"
    spaces = (area.spaces.active for screen in bpy.data.screens for area in screen.areas)
    views = [one for one in spaces if one.type == "VIEW_3D"]
    assert {one.shading.studiolight_intensity for one in views} == {0.75}
    assert {one.shading.color_type for one in views} == {"VERTEX", "TEXTURE"}  # that of Texture Paint


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


def test_preview_shows_the_picture_first(tmp_path):
    from blender_trellis.png import png_of
    from blender_trellis.scene.preview import picture_tile, render_preview

    red = np.full((20, 40, 3), (255, 0, 0), np.uint8)
    red[:10] = (0, 0, 255)  # the upper half
    collection = add_asset(_asset(), bpy.context.scene, bpy.context.view_layer)
    render_preview(collection, tmp_path / "preview.png", size=48, samples=1, picture=png_of(red))
    pixels = np.array(bpy.data.images.load(str(tmp_path / "preview.png")).pixels).reshape(48, 4, 48, 4)
    shown = pixels[:, 0, 24, :3]
    assert np.allclose(shown[20], (1, 0, 0), atol=0.02) and np.allclose(shown[28], (0, 0, 1), atol=0.02)
    assert np.allclose(
        shown[[0, -1]], pixels[0, 1, 0, :3], atol=0.03
    )  # above and below it, as around the others
    assert picture_tile(b"no picture", 48) == [] and "preview" not in bpy.data.images


def test_splat_ply_is_what_viewers_read(tmp_path):
    (path,) = _export(tmp_path, "ply")
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    assert names == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    )
    rows = np.frombuffer(body, "<f4").reshape(-1, len(names))
    gaussian = _asset().gaussian
    x, y, z = gaussian["position"].T
    np.testing.assert_array_equal(rows[:, :3], np.stack([x, -z, y], 1))
    np.testing.assert_array_equal(rows[:, 3:6], 0)
    np.testing.assert_array_equal(rows[:, 6:9], gaussian["f_dc"])


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


def test_the_reason_of_an_operator_is_told_and_not_the_place_of_its_call(tmp_path):
    """Blender ends what an operator raises with a line "Location: …"; the reason stands before it."""
    image = tmp_path / "picture.png"
    image.write_bytes(b"no .blend file")
    with pytest.raises(Fault) as told, atomic(tmp_path / "a.blend"):
        bpy.ops.wm.open_mainfile(filepath=str(image))
    assert "Location" not in str(told.value) and "picture.png" in str(told.value)
    with pytest.raises(Fault) as told, atomic(tmp_path / "a.glb"):
        bpy.ops.export_scene.gltf(filepath=str(image / "a.glb"), export_format="GLB")
    assert "Location" not in str(told.value) and "picture.png" in str(told.value)


@pytest.mark.parametrize(
    "said, reason",
    [
        ("Error: Cannot read it\nLocation: /a/ops.py:109\n", "Cannot read it"),
        (
            "Error: Python: Traceback (most recent call last):\n  File x\nOSError: full\n\nLocation: /a.py:1",
            "OSError: full",
        ),
        (
            "Error: Cannot write: no room\nError: It could not be saved.\n",
            "Cannot write: no room; It could not be saved",
        ),
        ("Location: /a/ops.py:109", "Blender gives no reason"),
        ("", "Blender gives no reason"),
    ],
)
def test_the_reason_is_told_in_one_line(said, reason):
    assert operator_reason(RuntimeError(said)) == reason


NOT_TEXT = os.fsdecode(b"caf\xe9")


def test_names_that_are_no_text_are_kept_by_files_and_printable_in_blender(tmp_path):
    """Of the picture and of the folder alike."""
    folder = tmp_path / NOT_TEXT
    folder.mkdir()
    asset = dataclasses.replace(_asset(), name=NOT_TEXT)
    collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer)
    written = export_asset(asset, collection, folder / NOT_TEXT, ("glb", "ply", "blend"))
    assert sorted(os.listdir(os.fsencode(folder))) == [b"caf\xe9.blend", b"caf\xe9.glb", b"caf\xe9.ply"]
    data = written[0].read_bytes()
    gltf = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    assert [node["name"] for node in gltf["nodes"]] == ["caf?"]
    shutil.copy(written[2], tmp_path / "copy.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "copy.blend"))
    assert {item.name for item in bpy.data.collections["caf?"].objects} == {
        "caf?",
        "caf? Gaussians",
        "caf? Root",
    }


@pytest.mark.parametrize(
    "kind, name",
    [("glb", "ball.glb"), ("preview", "ball_preview.png"), ("latents", "ball.latents.safetensors")],
)
def test_a_target_that_is_a_folder_is_a_sentence(tmp_path, kind, name):
    check_targets(tmp_path / "ball", (kind,))
    (tmp_path / name).mkdir()
    with pytest.raises(Fault, match="not an ordinary file"):
        check_targets(tmp_path / "ball", ("ply", kind))
    with pytest.raises(Fault, match="too long"):
        check_targets(tmp_path / ("x" * 253), (kind,))


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be written"):
        prepare_folder(tmp_path / "file" / "folder")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no folder that takes no files")
def test_a_folder_that_takes_no_files_is_not_called_full():
    with pytest.raises(Fault) as told:
        prepare_folder(Path("/proc"))
    assert "space" not in str(told.value) and '"/proc"' in str(told.value)


def test_glb_where_the_exporter_is_switched_off(tmp_path):
    import addon_utils

    addon_utils.disable("io_scene_gltf2")
    assert len(_export(tmp_path, "glb")) == 1
