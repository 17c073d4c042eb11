"""Finished meshes in the scene: beside the raw one, which edits start from, in its place for all else."""

import dataclasses

import bpy
import numpy as np
import pytest

from blender_trellis.jobs import session
from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import FINISH_REPORT, finished_object
from blender_trellis.scene.find_asset import asset_of_object, part
from blender_trellis.scene.latents import read_latents, store_latents
from blender_trellis.scene.materials import MADE
from tests.waiting import PATIENCE


def _generate(picture) -> bpy.types.Collection:
    settings = bpy.context.scene.trellis
    settings.picture = str(picture())
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    return bpy.data.collections["crate"]


def test_the_finished_mesh_is_shown_and_the_raw_one_kept(addon, picture):
    collection = _generate(picture)
    finished, raw = part(collection, "finished"), part(collection, "mesh")
    assert (finished.name, raw.name) == ("crate", "crate Raw")
    assert raw.hide_viewport and raw.hide_render and not finished.hide_viewport
    assert finished.parent == raw.parent and finished.matrix_basis == raw.matrix_basis
    assert finished.matrix_parent_inverse == raw.matrix_parent_inverse
    assert 0 < len(finished.data.polygons) < len(raw.data.polygons)
    assert bpy.context.view_layer.objects.active == finished
    bpy.ops.trellis.show(kind="gaussian")
    assert finished.hide_viewport and raw.hide_viewport
    bpy.ops.trellis.show(kind="mesh")
    assert raw.hide_viewport and not finished.hide_viewport


def test_a_copy_is_finished_as_an_asset_of_its_own(addon, picture):
    settings = bpy.context.scene.trellis.finish
    settings.preset, settings.texture = "raw", "0"
    collection = _generate(picture)
    settings.preset = "mobile"
    raw = part(collection, "mesh")
    copy = raw.copy()
    copy.data = raw.data.copy()
    collection.objects.link(copy)
    bpy.context.view_layer.objects.active = copy
    before = {*bpy.data.collections}
    assert bpy.ops.trellis.finish.poll() and bpy.ops.trellis.export_asset.poll()
    assert not bpy.ops.trellis.make_quads.poll()
    assert {*bpy.data.collections} == before  # asking makes nothing
    bpy.ops.trellis.finish()
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    (fresh,) = {*bpy.data.collections} - before
    assert part(fresh, "mesh") == copy and part(fresh, "finished") is not None
    assert part(collection, "finished") is None and part(collection, "mesh") == raw
    assert bpy.ops.trellis.make_quads.poll()


def test_a_copy_that_was_moved_to_another_collection_is_an_asset_of_its_own(addon, picture):
    collection = _generate(picture)
    raw = part(collection, "mesh")
    mine = bpy.data.collections.new("Mine")
    bpy.context.scene.collection.children.link(mine)
    copy = raw.copy()
    copy.data = raw.data.copy()
    mine.objects.link(copy)
    bpy.ops.ed.undo_push(message="copied")
    bpy.context.view_layer.objects.active = copy
    bpy.ops.trellis.finish()
    copy.location.x = 3.0
    bpy.ops.ed.undo_push(message="moved")
    bpy.ops.ed.undo()  # which leaves the copy an asset
    assert session.pump_until_done(PATIENCE) and not session.status().fault and not session.status().note
    copy = bpy.data.collections["Mine"].objects[0]
    fresh = asset_of_object(copy)
    assert fresh != bpy.data.collections["crate"] and part(fresh, "finished") is not None
    assert part(fresh, "mesh") == copy and copy.location.x == 0


def test_what_was_edited_meanwhile_is_not_overwritten(addon, picture):
    """As by a job that is run again, or one that was sent before an edit."""
    collection = _generate(picture)
    finished = part(collection, "finished")
    bpy.ops.trellis.finish()
    latents = read_latents(collection)
    changed = {**latents.arrays, "feats": latents.arrays["feats"] + 1}
    store_latents(collection, dataclasses.replace(latents, arrays=changed))
    before = finished.data
    assert session.pump_until_done(PATIENCE)
    assert "was edited while it was finished" in session.status().fault
    assert part(collection, "finished").data == before


def test_finishing_anew_leaves_no_former_texture(addon, picture):
    bpy.context.scene.trellis.finish.texture = "512"
    collection = _generate(picture)
    for _ in range(2):
        bpy.context.view_layer.objects.active = part(collection, "finished")
        bpy.ops.trellis.finish()
        assert session.pump_until_done(PATIENCE) and not session.status().fault
        assert len([image for image in bpy.data.images if image.size[0] == 512]) == 1
        assert len(bpy.data.materials) == len({*map(str.lower, bpy.data.materials.keys())}) == 3


def _finish(collection: bpy.types.Collection) -> bpy.types.Mesh:
    bpy.context.view_layer.objects.active = part(collection, "finished")
    assert bpy.ops.trellis.finish() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    return part(collection, "finished").data


def test_materials_of_an_artists_own_stay_on_the_finished_mesh(addon, picture):
    bpy.context.scene.trellis.finish.texture = "512"
    collection = _generate(picture)
    mesh = part(collection, "finished").data
    lacquer, trim = (bpy.data.materials.new(name) for name in ("Lacquer", "Trim"))
    mesh.materials.append(trim)
    mesh = _finish(collection)
    made, second = mesh.materials
    assert second == trim and not made.name.startswith("Lacquer")
    mesh.materials[0] = lacquer
    assert list(_finish(collection).materials) == [lacquer, trim]
    quads = part(collection, "finished")
    assert bpy.ops.trellis.make_quads(faces=300) == {"FINISHED"}
    assert list(quads.data.materials) == [lacquer, trim]


def test_a_material_that_was_changed_shows_the_new_texture(addon, picture):
    bpy.context.scene.trellis.finish.texture = "512"
    collection = _generate(picture)
    material = part(collection, "finished").data.materials[0]
    former = next(node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE")
    material.node_tree.nodes["Principled BSDF"].inputs["Metallic"].default_value = 0.7
    mine = bpy.data.images.new("Mine", 8, 8)
    material.node_tree.nodes.new("ShaderNodeTexImage").image = mine
    bpy.context.scene.trellis.finish.texture = "1024"
    count, name = len(bpy.data.materials), former.name
    mesh = _finish(collection)
    assert list(mesh.materials) == [material] and len(bpy.data.materials) == count
    shown = [node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE"]
    assert {one.size[0] for one in shown} == {8, 1024} and mine in shown
    assert [one.size[0] for one in bpy.data.images if one.name.startswith(name)].count(512) == 0
    assert material.node_tree.nodes["Principled BSDF"].inputs["Metallic"].default_value == pytest.approx(0.7)


def test_what_was_made_by_an_earlier_version_is_replaced(addon, picture):
    bpy.context.scene.trellis.finish.texture = "512"
    collection = _generate(picture)
    material = part(collection, "finished").data.materials[0]
    image = next(node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE")
    del material[MADE], image[MADE]
    count = len(bpy.data.materials)
    _finish(collection)
    assert len([one for one in bpy.data.images if one.size[0] == 512]) == 1
    assert len(bpy.data.materials) == count


def test_linked_duplicates_of_the_finished_mesh_stay_linked(addon, picture):
    collection = _generate(picture)
    finished = part(collection, "finished")
    twin = bpy.data.objects.new("Twin", finished.data)
    bpy.context.scene.collection.objects.link(twin)
    before = finished.data.session_uid
    assert _finish(collection) == twin.data and twin.data.session_uid != before
    bpy.context.view_layer.objects.active = finished
    assert bpy.ops.trellis.make_quads(faces=300) == {"FINISHED"}
    assert twin.data == finished.data and len(twin.data.polygons[0].vertices) == 4


def test_the_finished_mesh_moves_as_the_raw_one_does(addon, picture):
    settings = bpy.context.scene.trellis.finish
    settings.preset, settings.texture = "raw", "0"
    collection = _generate(picture)
    raw = part(collection, "mesh")
    raw.location.x = 3.0
    raw.keyframe_insert("location", frame=1)
    raw.modifiers.new("Waves", "WAVE")
    settings.preset = "mobile"
    bpy.context.view_layer.objects.active = raw
    bpy.ops.trellis.finish()
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    finished = part(collection, "finished")
    assert finished.animation_data.action == raw.animation_data.action
    assert [one.name for one in finished.modifiers] == ["Waves"] and finished.location.x == 3.0


def test_the_texture_is_packed_and_shown_by_the_material(addon, picture):
    bpy.context.scene.trellis.finish.texture = "512"
    item = part(_generate(picture), "finished")
    nodes = item.data.materials[0].node_tree.nodes
    image = next(node.image for node in nodes if node.type == "TEX_IMAGE")
    assert tuple(image.size) == (512, 512) and image.packed_file is not None
    pixels = np.empty(512 * 512 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    assert np.allclose(pixels.reshape(-1, 4)[0] * 255, (200, 40, 90, 255), atol=1)
    principled = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    assert principled.inputs["Roughness"].default_value == pytest.approx(0.5)
    uv = np.empty(2 * len(item.data.loops), np.float32)
    item.data.uv_layers.active.uv.foreach_get("vector", uv)
    assert (uv == 0.5).all()


def test_a_raw_asset_is_finished_by_a_button(addon, picture):
    settings = bpy.context.scene.trellis.finish
    settings.preset, settings.texture = "raw", "0"
    collection = _generate(picture)
    raw = part(collection, "mesh")
    assert part(collection, "finished") is None and raw.name == "crate" and not raw.hide_viewport
    assert not bpy.ops.trellis.finish.poll()
    settings.preset = "mobile"
    before = len(raw.data.vertices)
    bpy.context.view_layer.objects.active = raw
    other = bpy.data.scenes.new("other")  # that shows the raw mesh alone
    other.collection.objects.link(raw)
    raw.select_set(True, view_layer=other.view_layers[0])
    assert bpy.ops.trellis.finish() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    finished = part(collection, "finished")
    assert finished.name == "crate" and raw.name == "crate Raw" and raw.hide_viewport
    assert len(raw.data.vertices) == before
    # What is selected and would be edited is the mesh that is seen.
    assert bpy.context.view_layer.objects.active == finished
    assert finished.select_get() and not raw.select_get()
    assert set(other.objects) == {raw}
    # Once more: there is still one.
    bpy.context.view_layer.objects.active = finished
    bpy.ops.trellis.finish()
    assert session.pump_until_done(PATIENCE)
    kinds = [item.get("trellis_part") for item in collection.objects]
    assert kinds.count("finished") == 1 and part(collection, "finished").name == "crate"


def _ball_of_two_colors(subdivisions: int):
    """Vertices, faces and colours of a ball, red above and blue below."""
    import bmesh

    ball = bmesh.new()
    bmesh.ops.create_icosphere(ball, subdivisions=subdivisions, radius=0.4)
    vertices = np.array([vertex.co for vertex in ball.verts], np.float32)
    faces = np.array([[vertex.index for vertex in face.verts] for face in ball.faces], np.int32)
    ball.free()
    return {
        "vertices": vertices,
        "faces": faces,
        "colors": np.where(vertices[:, 2:] > 0, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)).astype(np.float32),
    }


def test_quads_keep_the_shape_and_the_colours(addon, picture):
    collection = _generate(picture)
    finished = part(collection, "finished")
    ball = finished_object("ball", Asset("ball", finished=_ball_of_two_colors(4), finish_report="faces"), [])
    assert ball.data[FINISH_REPORT] == "faces"
    finished.data = ball.data
    bpy.data.objects.remove(ball)
    bpy.context.view_layer.objects.active = finished
    count = len(bpy.data.meshes), len(bpy.data.objects)
    assert bpy.ops.trellis.make_quads(faces=300) == {"FINISHED"}
    mesh = finished.data
    assert all(len(face.vertices) == 4 for face in mesh.polygons) and 150 < len(mesh.polygons) < 600
    places = np.array([vertex.co for vertex in mesh.vertices])
    assert np.abs(np.linalg.norm(places, axis=1) - 0.4).max() < 0.02
    colors = np.empty(4 * len(places), np.float32)
    mesh.color_attributes["Color"].data.foreach_get("color", colors)
    upper, lower = places[:, 2] > 0.05, places[:, 2] < -0.05
    np.testing.assert_allclose(colors.reshape(-1, 4)[upper, :3].mean(axis=0), (1, 0, 0), atol=0.02)
    np.testing.assert_allclose(colors.reshape(-1, 4)[lower, :3].mean(axis=0), (0, 0, 1), atol=0.02)
    assert (len(bpy.data.meshes), len(bpy.data.objects)) == count


def test_linked_assets_are_made_of_no_quads(addon, picture, tmp_path):
    path = str(tmp_path / "crate.blend")
    bpy.data.libraries.write(path, {_generate(picture)}, fake_user=True)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(path, link=True) as (_, found):
        found.collections = ["crate"]
    (collection,) = found.collections
    bpy.context.scene.collection.children.link(collection)
    bpy.context.view_layer.update()
    bpy.context.view_layer.objects.active = part(collection, "finished")
    assert not bpy.ops.trellis.make_quads.poll()


def test_what_has_no_quads_stays_as_it_is(addon, picture):
    collection = _generate(picture)
    finished = part(collection, "finished")
    data = finished.data
    data.clear_geometry()
    corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]
    data.from_pydata(corners, [], [(0, 1, 2), (0, 1, 3), (0, 1, 4)])
    bpy.context.view_layer.objects.active = finished
    count = len(bpy.data.meshes), len(bpy.data.objects)
    with pytest.raises(RuntimeError, match="quads"):
        bpy.ops.trellis.make_quads(faces=300)
    assert finished.data == data and len(data.polygons) == 3
    assert (len(bpy.data.meshes), len(bpy.data.objects)) == count
