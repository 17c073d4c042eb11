"""Finished meshes in the scene: beside the raw one, which edits start from, in its place for all else."""

import bpy
import numpy as np
import pytest

from blender_trellis.jobs import session
from blender_trellis.scene.find_asset import part
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
    assert bpy.ops.trellis.finish() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    finished = part(collection, "finished")
    assert finished.name == "crate" and raw.name == "crate Raw" and raw.hide_viewport
    assert len(raw.data.vertices) == before
    # Once more: there is still one.
    bpy.context.view_layer.objects.active = finished
    bpy.ops.trellis.finish()
    assert session.pump_until_done(PATIENCE)
    kinds = [item.get("trellis_part") for item in collection.objects]
    assert kinds.count("finished") == 1 and part(collection, "finished").name == "crate"
