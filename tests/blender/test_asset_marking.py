"""Assets for the Asset Browser: what is said of them, and pictures that show what they are."""

import json

import bpy
import numpy as np
import pytest
from fake_backend import ball

from blender_trellis.meshes.thumbnail import thumbnail
from blender_trellis.scene.asset import Asset
from blender_trellis.scene.asset_marking import AssetMarks, mark_asset
from blender_trellis.scene.collection import add_asset, show

CATALOG = "5d5d5d5d-1111-4222-8333-444455556666"
HISTORY = json.dumps([{"picture_names": ["crate.png"], "prompt": "", "seed": 7}])


def _ball(red: bool) -> dict[str, np.ndarray]:
    vertices, faces, colors = ball()
    colors[:] = (1, 0, 0) if red else (0, 0, 1)
    return {"vertices": vertices, "faces": faces, "colors": colors}


def _splats() -> dict[str, np.ndarray]:
    """A green ball."""
    vertices, _, _ = ball()
    count = len(vertices)
    return {
        "position": vertices,
        "f_dc": np.tile(np.array([-0.5, 0.5, -0.5], np.float32) / np.float32(0.28209479), (count, 1)),
        "opacity": np.full((count, 1), 4.0, np.float32),
        "scale": np.full((count, 3), np.log(0.02), np.float32),
        "rotation": np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
    }


@pytest.fixture
def collection() -> bpy.types.Collection:
    said = {"model": "starter", "version": "0.1.0", "history": HISTORY}
    asset = Asset("crate", mesh=_ball(red=True), gaussian=_splats(), properties=said)
    return add_asset(asset, bpy.context.scene, bpy.context.view_layer)


def _mean(picture: np.ndarray) -> np.ndarray:
    return picture[picture[..., 3] > 0][:, :3].mean(axis=0)


def test_marks_and_picture_are_there_after_reopening(addon, collection, tmp_path):
    marks = AssetMarks("Ann", "CC0-1.0", ("prop", "wood", "prop"), CATALOG)
    picture = thumbnail(collection)
    collection.objects["crate Root"].location = (7, 8, 9)
    mark_asset(collection, AssetMarks("Bob", tags=("old",)), picture)
    assert tuple(collection.instance_offset) == (7, 8, 9)
    mark_asset(collection, marks, thumbnail(collection))  # which renews them
    holder = bpy.data.objects.new("holder", None)
    bpy.context.scene.collection.objects.link(holder)
    holder.location = (2, 2, 0)
    root = collection.objects["crate Root"]
    root.parent, root.location = holder, (1, 0, 1)  # it was moved since it was marked
    bpy.context.view_layer.update()
    path = str(tmp_path / "crate.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    collection = bpy.data.collections["crate"]
    data = collection.asset_data
    assert (data.author, data.license, data.catalog_id) == ("Ann", "CC0-1.0", CATALOG)
    assert data.description == "Made from crate.png with starter, seed 7 (TRELLIS for Blender 0.1.0)"
    assert sorted(tag.name for tag in data.tags) == ["TRELLIS", "prop", "starter", "wood"]
    assert tuple(collection.instance_offset) == (3, 2, 1)
    assert tuple(collection.preview.image_size) == (256, 256) and collection.preview.is_image_custom
    pixels = np.array(collection.preview.image_pixels_float[:]).reshape(256, 256, 4)
    assert _mean(pixels)[0] > 0.5 and _mean(pixels)[1:].max() < 0.05  # a red ball
    collection.instance_offset = (0, 0, 5)  # the artist's own
    bpy.ops.wm.save_mainfile()
    assert tuple(collection.instance_offset) == (0, 0, 5)


def test_long_texts_and_what_is_no_catalogue_are_borne(collection):
    mark_asset(
        collection, AssetMarks("界" * 500, "l" * 500, ("t" * 500, " "), "no uuid"), thumbnail(collection)
    )
    assert set(collection.asset_data.author) == {"界"} and len(collection.asset_data.license) > 50
    assert len(collection.asset_data.tags) == 3


def test_a_thumbnail_shows_the_shape_lit_from_above_at_its_true_size(collection):
    picture = thumbnail(collection, 128)
    seen = picture[..., 3] > 0
    # A disc of 88 % of the side covers a quarter of pi times that of the square.
    assert seen.mean() == pytest.approx(np.pi / 4 * 0.88**2, abs=0.02)
    assert not seen[0].any() and not seen[:, 0].any() and seen[64, 64]
    assert picture[90, 50, 0] > picture[30, 90, 0] + 0.1  # rows from below


def test_a_thumbnail_shows_what_is_shown(collection):
    assert _mean(thumbnail(collection, 64)).argmax() == 0
    show(collection, "gaussian")
    colors = _mean(thumbnail(collection, 64))
    assert colors == pytest.approx([0, 1, 0], abs=0.01)
    for item in collection.objects:
        item.hide_viewport = True
    assert _mean(thumbnail(collection, 64)).argmax() == 0


def test_of_a_finished_asset_the_finished_mesh_is_drawn_and_behind_is_hidden():
    asset = Asset("one", mesh=_ball(red=True), finished=_ball(red=False))
    collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer)
    assert _mean(thumbnail(collection, 64)).argmax() == 2
    half = _ball(red=False)
    half["colors"][half["vertices"][:, 1] > 0.01] = (1, 0, 0)  # the back, seen from the front
    collection = add_asset(Asset("two", mesh=half), bpy.context.scene, bpy.context.view_layer)
    assert _mean(thumbnail(collection, 64)).argmax() == 2


def test_an_empty_collection_has_an_empty_picture():
    collection = bpy.data.collections.new("nothing")
    assert not thumbnail(collection, 32).any()
    collection.objects.link(bpy.data.objects.new("no faces", bpy.data.meshes.new("no faces")))
    assert not thumbnail(collection, 32).any()
