"""What an asset was made of stays with it: saved, reopened, appended, copied, undone, purged."""

import bpy
import numpy as np
import pytest
from fake_backend import ball

from blender_trellis.faults import Fault
from blender_trellis.scene.asset import Asset, StoredLatents
from blender_trellis.scene.collection import add_asset
from blender_trellis.scene.find_asset import asset_id, asset_of_object, find_asset, own_asset, part
from blender_trellis.scene.latents import (
    packed,
    read_latents,
    read_pictures,
    read_request,
    store_latents,
    unpacked,
)

RESOLUTION = 32
PNG = bytes.fromhex(  # one red pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc00000030101"
    "00c9fe92ef0000000049454e44ae426082"
)


def _latents(rows: int = 200, seed: int = 1) -> StoredLatents:
    random = np.random.default_rng(seed)
    cells = np.sort(random.choice(RESOLUTION**3, rows, replace=False))
    arrays = {
        "structure_latent": random.normal(size=(8, 16, 16, 16)).astype(np.float32),
        "occupied": random.integers(0, 256, 64**3 // 8).astype(np.uint8),
        "coords": np.stack(np.unravel_index(cells, (RESOLUTION,) * 3), 1).astype(np.int32),
        "feats": random.normal(size=(rows, 8)).astype(np.float32),
        "outline_alpha": random.integers(0, 256, (1, 128, 128)).astype(np.uint8),
        "outline_view": np.array([[17.5, 37.5, 1.25, 0.0, -0.0625]], np.float32),
        "within": random.integers(0, 256, RESOLUTION**3 // 8).astype(np.uint8),
    }
    return StoredLatents(arrays, RESOLUTION, 64, "starter", "ab" * 32)


def _asset(name: str = "crate", **changes) -> Asset:
    vertices, faces, colors = ball()
    keys = np.arange(len(vertices), dtype=np.int32) * 3
    mesh = {"vertices": vertices, "faces": faces, "colors": colors, "keys": keys}
    pictures = (("crate.png", PNG), ("odd.heic", b"no picture that Blender could read"))
    held = {"mesh": mesh, "latents": _latents(), "pictures": pictures, "request": b"what was asked for"}
    return Asset(name, **(held | changes))


def _add(asset: Asset) -> bpy.types.Collection:
    return add_asset(asset, bpy.context.scene, bpy.context.view_layer)


def _assert_kept(collection: bpy.types.Collection, asset: Asset) -> None:
    found, latents = read_latents(collection), asset.latents
    assert found.arrays.keys() == latents.arrays.keys()
    for name, expected in latents.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], expected)
        assert found.arrays[name].dtype == expected.dtype
    assert (found.resolution, found.structure_resolution) == (32, 64)
    assert (found.model, found.model_hash) == ("starter", "ab" * 32)
    assert read_pictures(collection) == asset.pictures
    assert read_request(collection) == asset.request


def _into(path, kind: str, name: str, call) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    call(filepath=f"{path}/{kind}/{name}", directory=f"{path}/{kind}/", filename=name)


def test_survives_purge_save_and_reopen(tmp_path):
    asset = _asset()
    _add(asset)
    for _ in range(3):
        bpy.ops.outliner.orphans_purge(do_recursive=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    _assert_kept(bpy.data.collections["crate"], asset)


@pytest.mark.parametrize("how", ["append", "link"])
def test_survives_append_and_link_to_another_file(tmp_path, how):
    asset = _asset()
    _add(asset)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    _into(tmp_path / "a.blend", "Collection", "crate", getattr(bpy.ops.wm, how))
    collection = bpy.data.collections["crate"]
    assert (collection.library is None) == (how == "append")
    _assert_kept(collection, asset)


def test_an_object_alone_carries_all_into_another_file(tmp_path):
    asset = _asset()
    _add(asset)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    _into(tmp_path / "a.blend", "Object", "crate", bpy.ops.wm.append)
    alone = bpy.data.collections.new("alone")
    alone.objects.link(bpy.data.objects["crate"])
    _assert_kept(alone, asset)


def test_a_copy_has_all_and_changes_by_itself():
    asset = _asset()
    collection = _add(asset)
    copy = collection.copy()
    for item in [*copy.objects]:
        copy.objects.unlink(item)
        copy.objects.link(item.copy())
    bpy.context.scene.collection.children.link(copy)
    _assert_kept(copy, asset)
    store_latents(copy, _latents(seed=2))
    _assert_kept(collection, asset)
    np.testing.assert_array_equal(read_latents(copy).arrays["feats"], _latents(seed=2).arrays["feats"])
    assert asset_id(collection) == collection["trellis_asset"] != asset_id(copy)
    assert find_asset(asset_id(copy)) == copy and find_asset(asset_id(collection)) == collection
    assert asset_of_object(copy.objects[0]) == copy


def test_objects_copied_within_a_collection_become_an_asset_of_their_own():
    collection = _add(_asset())
    with bpy.context.temp_override(
        selected_objects=[*collection.objects], active_object=collection.objects[0]
    ):
        bpy.ops.object.duplicate()
    assert len(collection.objects) == 4
    copy = next(item for item in collection.objects if item.name == "crate.001")
    root = copy.parent
    assert root != part(collection, "root") and own_asset(part(collection, "mesh")) == collection
    fresh = own_asset(copy)
    assert fresh != collection and {*fresh.objects} == {copy, root} and own_asset(root) == fresh
    assert len(collection.objects) == 2 and fresh.name in bpy.context.scene.collection.children
    assert asset_id(fresh) != asset_id(collection) and copy["trellis_asset"] == asset_id(fresh)
    alone = part(collection, "mesh").copy()
    collection.objects.link(alone)
    assert {*own_asset(alone).objects} == {alone}
    store_latents(fresh, _latents(seed=2))
    np.testing.assert_array_equal(read_latents(collection).arrays["feats"], _latents().arrays["feats"])


def test_survives_undo_and_redo():
    bpy.ops.ed.undo_push(message="before")
    asset = _asset()
    _add(asset)
    bpy.ops.ed.undo_push(message="added")
    store_latents(bpy.data.collections["crate"], _latents(seed=2))
    bpy.ops.ed.undo_push(message="changed")
    bpy.ops.ed.undo()
    _assert_kept(bpy.data.collections["crate"], asset)
    bpy.ops.ed.undo()
    assert "crate" not in bpy.data.collections
    bpy.ops.ed.redo()
    _assert_kept(bpy.data.collections["crate"], asset)


def test_is_half_a_megabyte_for_ten_thousand_voxels():
    """The figures are noise here, which does not compress: what is stored is no more than the numbers."""
    assert len(packed(_latents(10_000))) < 600_000


def test_an_asset_without_latents_or_with_damaged_ones_is_a_sentence():
    collection = _add(_asset(latents=None))
    with pytest.raises(Fault, match='"crate" does not carry'):
        read_latents(collection)
    collection = _add(_asset())
    carrier = collection["trellis_data"]
    whole = bytes(carrier["trellis_latents"])
    for damaged in (
        b"",
        whole[:-40],
        whole[: len(whole) // 2],
        b"PK" + whole[2:900] + bytes(99) + whole[999:],
    ):
        del carrier["trellis_latents"]
        carrier["trellis_latents"] = damaged
        with pytest.raises(Fault, match="damaged"):
            read_latents(collection)


@pytest.mark.parametrize(
    "name, change",
    [
        ("coords", lambda values: values + RESOLUTION),
        ("coords", lambda values: values[1:]),
        ("feats", lambda values: values * np.float32(np.nan)),
        ("occupied", lambda values: values[1:]),
        ("structure_latent", lambda values: values[0]),
        ("outline_alpha", lambda values: values[0]),
        ("outline_view", lambda values: np.full_like(values, np.inf)),
        ("within", lambda values: values[1:]),
    ],
)
def test_latents_that_do_not_fit_together_are_damaged(name, change):
    latents = _latents()
    arrays = {**latents.arrays, name: change(latents.arrays[name])}
    with pytest.raises(ValueError):
        unpacked(packed(StoredLatents(arrays, RESOLUTION, 64, "starter", "")))


def test_one_picture_of_many_assets_is_one_image():
    _add(_asset())
    _add(_asset())
    assert len([image for image in bpy.data.images if image.name.startswith("crate")]) == 1
