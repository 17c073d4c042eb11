"""Files for other programs: what Blender itself reads back is the asset, where and as large as it stood."""

import json
import struct
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_trellis.faults import Fault
from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import add_asset
from blender_trellis.scene.files.write import write_asset
from blender_trellis.scene.find_asset import part
from blender_trellis.scene.placement import Standing
from tests.gltf_validator import issues

CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.3, 0.3) for z in (0, 0.9)], np.float32)
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
FACES = np.array([face for a, b, c, d in SIDES for face in ((a, b, c), (a, c, d))], np.int32)
GREEN, ORANGE = (30, 160, 60), (250, 120, 20)
READERS = {
    "GLB": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    "GLTF": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    "USD": lambda path: bpy.ops.wm.usd_import(filepath=path),
    "FBX": lambda path: bpy.ops.import_scene.fbx(filepath=path),
    "OBJ": lambda path: bpy.ops.wm.obj_import(filepath=path),
}
SUFFIXES = {"GLB": "glb", "GLTF": "gltf", "USD": "usdc", "FBX": "fbx", "OBJ": "obj"}


def _collection() -> bpy.types.Collection:
    """A box of twelve faces with a texture, green on the left and orange on the right, 2 metres high."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    mesh = {"vertices": CORNERS, "faces": FACES, "colors": np.full((8, 3), 0.5, np.float32)}
    texture = np.zeros((32, 32, 3), np.uint8)
    texture[:, :16], texture[:, 16:] = GREEN, ORANGE
    uv = (CORNERS[FACES][:, :, [0, 2]] + np.array([0.5, 0.0])).astype(np.float32)
    asset = Asset("box", mesh=mesh, finished=mesh | {"uv": uv, "texture": texture}, surface=(0.6, 0.0))
    return add_asset(asset, bpy.context.scene, bpy.context.view_layer, standing=Standing(height=2.0))


def _mesh(collection: bpy.types.Collection) -> bpy.types.Object:
    return part(collection, "finished")


def _world(item: bpy.types.Object) -> np.ndarray:
    return np.array([item.matrix_world @ vertex.co for vertex in item.data.vertices])


@pytest.mark.parametrize("kind", READERS)
def test_the_textured_asset_is_read_back(tmp_path, kind):
    collection = _collection()
    item = part(collection, "finished")
    before = _world(item)
    path = tmp_path / f"a b.{SUFFIXES[kind]}"
    files = write_asset(item, path, kind)
    there = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    assert files[-1] == path and sorted(files) == there
    image = bpy.data.images["box"]
    assert image.packed_file is not None and not image.filepath_raw.startswith(str(tmp_path))
    if kind in ("GLB", "GLTF"):
        assert issues(path) == []
    if kind == "OBJ":  # Blender itself looks for the bare name where nothing is at the path
        assert "map_Kd a b.png" in path.with_suffix(".mtl").read_text().splitlines()

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    READERS[kind](str(path))
    bpy.context.view_layer.update()
    (read,) = [item for item in bpy.data.objects if item.type == "MESH"]
    read.data.calc_loop_triangles()
    assert len(read.data.loop_triangles) == 12
    after = _world(read)
    np.testing.assert_allclose(np.sort(np.unique(after.round(3), axis=0), 0), np.sort(before, 0), atol=0.002)
    nodes = read.data.materials[0].node_tree.nodes
    texture = next(node.image for node in nodes if node.type == "TEX_IMAGE")
    pixels = np.array(texture.pixels).reshape(32, 32, 4)[..., :3] * 255
    # At every corner the image has the colour of the side it is on.
    uv = np.array([tuple(loop.uv) for loop in read.data.uv_layers.active.data])
    places = after[[loop.vertex_index for loop in read.data.loops]]
    for (u, v), (x, _, _) in zip(uv, places, strict=True):
        seen = pixels[int(np.clip(v * 32, 0, 31)), int(np.clip(u * 32, 0, 31))]
        assert np.abs(seen - (GREEN if x < 0 else ORANGE)).max() < 2


def test_an_image_that_was_unpacked_lies_beside_the_obj(tmp_path):
    item = _mesh(_collection())
    image = bpy.data.images["box"]
    stored = tmp_path / "elsewhere.png"
    stored.write_bytes(image.packed_file.data)
    image.unpack(method="REMOVE")
    image.filepath_raw = str(stored)
    assert image.packed_file is None
    write_asset(item, tmp_path / "out" / "a.obj", "OBJ")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.obj", "a.mtl", "a.png"}
    assert "map_Kd a.png" in (tmp_path / "out" / "a.mtl").read_text().splitlines()
    assert (tmp_path / "out" / "a.png").read_bytes() == stored.read_bytes()
    assert Path(image.filepath_raw) == stored


@pytest.mark.parametrize("kind", ["GLTF", "USD", "FBX", "OBJ"])
@pytest.mark.parametrize("is_new", [False, True])
def test_what_was_painted_and_not_saved_is_written(tmp_path, kind, is_new):
    item, image = _mesh(_collection()), bpy.data.images["box"]
    if is_new:
        image = bpy.data.images.new("painted", 32, 32)
        nodes = item.active_material.node_tree.nodes
        next(node for node in nodes if node.type == "TEX_IMAGE").image = image
    image.pixels.foreach_set(np.tile(np.array([0, 0, 1, 1], np.float32), 32 * 32))
    image.update()
    files = write_asset(item, tmp_path / f"a.{SUFFIXES[kind]}", kind)
    (written,) = [file for file in files if file.suffix == ".png"]
    read = bpy.data.images.load(str(written))
    assert np.allclose(np.array(read.pixels).reshape(-1, 4), (0, 0, 1, 1))


def test_images_of_materials_on_the_object_lie_beside_the_obj(tmp_path):
    item = _mesh(_collection())
    material, item.data.materials[0] = item.data.materials[0], None
    item.material_slots[0].link = "OBJECT"
    item.material_slots[0].material = material
    write_asset(item, tmp_path / "a.obj", "OBJ")
    assert "map_Kd a.png" in (tmp_path / "a.mtl").read_text().splitlines()
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize("kind", ["GLB", "GLTF"])
def test_a_gltf_file_names_no_files_of_the_user(addon, tmp_path, picture, kind):
    """As in a Blender where the add-on is switched on, which is where the exporter looks for it."""
    item = _mesh(_collection())
    bpy.context.scene["own"] = "kept"
    item["label"] = "kept too"
    bpy.context.scene.trellis.pictures.add().path = str(picture())
    enabled = bpy.context.preferences.addons.new()
    enabled.module = addon.__name__
    path = tmp_path / f"a.{SUFFIXES[kind]}"
    try:
        write_asset(item, path, kind)
    finally:
        bpy.context.preferences.addons.remove(enabled)
    assert b"crate.png" not in path.read_bytes()
    data = path.read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]] if kind == "GLB" else data)
    assert document["scenes"][0]["extras"] == {"own": "kept"}
    assert any(node.get("extras", {}).get("label") == "kept too" for node in document["nodes"])


@pytest.mark.parametrize("kind", READERS)
def test_modifiers_are_in_every_kind_of_file(tmp_path, kind):
    item = _mesh(_collection())
    array = item.modifiers.new("Array", "ARRAY")
    array.count = 3
    path = tmp_path / f"a.{SUFFIXES[kind]}"
    write_asset(item, path, kind)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    READERS[kind](str(path))
    (read,) = [item for item in bpy.data.objects if item.type == "MESH"]
    read.data.calc_loop_triangles()
    assert len(read.data.loop_triangles) == 3 * 12 and not read.modifiers


def test_a_glb_file_has_the_shape_keys(tmp_path):
    item = _mesh(_collection())
    item.shape_key_add(name="Basis")
    item.shape_key_add(name="Tall").data[0].co.z += 1
    item.modifiers.new("Array", "ARRAY")
    write_asset(item, tmp_path / "a.glb", "GLB")
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "a.glb"))
    assert "Tall" in bpy.context.object.data.shape_keys.key_blocks


@pytest.mark.parametrize("images, sign", [("AUTO", b"\x89PNG"), ("JPEG", b"\xff\xd8\xff"), ("WEBP", b"RIFF")])
def test_the_images_of_a_glb_are_stored_as_asked(tmp_path, images, sign):
    write_asset(_mesh(_collection()), tmp_path / "a.glb", "GLB", images)
    data = (tmp_path / "a.glb").read_bytes()
    assert data.count(sign) == 1 and issues(tmp_path / "a.glb") == []


@pytest.mark.parametrize("unit", [1.0, 0.001])
def test_an_stl_file_is_in_millimetres(tmp_path, unit):
    collection = _collection()
    bpy.context.scene.unit_settings.scale_length = unit  # metres a unit
    raw = part(collection, "mesh")
    bpy.context.view_layer.objects.active = raw.parent
    selected = [item.name for item in bpy.context.selected_objects]
    write_asset(_mesh(collection), tmp_path / "a.stl", "STL")
    data = (tmp_path / "a.stl").read_bytes()
    assert struct.unpack("<I", data[80:84]) == (12,)
    rows = np.frombuffer(data[84:], np.dtype([("normal", "<f4", 3), ("at", "<f4", (3, 3)), ("pad", "<u2")]))
    assert np.ptp(rows["at"].reshape(-1, 3)[:, 2]) == pytest.approx(2000 * unit, rel=1e-4)
    assert [item.name for item in bpy.context.selected_objects] == selected
    assert bpy.context.view_layer.objects.active == raw.parent and raw.hide_viewport


@pytest.mark.parametrize("kind, name", [("OBJ", "box.png"), ("OBJ", "box.mtl"), ("GLTF", "box.png")])
def test_a_file_of_the_name_of_an_image_is_not_replaced(tmp_path, kind, name):
    item, path = _mesh(_collection()), tmp_path / f"box.{SUFFIXES[kind]}"
    (tmp_path / name).write_bytes(b"a photo of the box")
    with pytest.raises(Fault, match=f'{name}" is there already'):
        write_asset(item, path, kind)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"a photo of the box"
    (tmp_path / name).unlink()
    write_asset(item, path, kind)
    bpy.data.images["box"].pixels[0] = 0.5
    write_asset(item, path, kind)  # over what it wrote itself


def test_an_asset_that_is_locked_against_selection_is_written(tmp_path):
    item = _mesh(_collection())
    item.hide_select = True
    write_asset(item, tmp_path / "a.glb", "GLB")
    assert item.hide_select and issues(tmp_path / "a.glb") == []


def test_a_mesh_that_is_not_in_the_view_layer_is_to_be_shown(tmp_path):
    collection = _collection()
    bpy.context.view_layer.layer_collection.children[collection.name].exclude = True
    with pytest.raises(Fault, match="show its collection first"):
        write_asset(_mesh(collection), tmp_path / "a.glb", "GLB")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_a_sentence(tmp_path):
    collection = _collection()
    if "threemf" not in dir(bpy.ops.export_mesh):
        with pytest.raises(Fault, match="extension for 3MF"):
            write_asset(_mesh(collection), tmp_path / "a.3mf", "3MF")
    (tmp_path / "folder.glb").mkdir()
    with pytest.raises(Fault, match="ordinary file"):
        write_asset(_mesh(collection), tmp_path / "folder.glb", "GLB")
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be written|may not be written"):
        write_asset(_mesh(collection), tmp_path / "file" / "a.glb", "GLB")
    assert {path.name for path in tmp_path.iterdir()} == {"folder.glb", "file"}


def test_the_button_saves_what_is_selected(addon, tmp_path):
    collection = _collection()
    bpy.context.view_layer.objects.active = part(collection, "finished")
    path = tmp_path / "files" / "a"
    assert bpy.ops.trellis.export_asset(filepath=str(path), kind="OBJ") == {"FINISHED"}
    assert {path.name for path in path.parent.iterdir()} == {"a.obj", "a.mtl", "a.png"}
    bpy.context.view_layer.objects.active = None
    assert not bpy.ops.trellis.export_asset.poll()
