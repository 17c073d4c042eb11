"""Retexture of meshes as artists have them. The fake backend colours along x of what it is sent."""

import bmesh
import bpy
import numpy as np
import pytest

from blender_trellis.jobs import session
from blender_trellis.srgb import linear_from_srgb
from blender_trellis.ui.vary import reasons
from tests.blender.test_vary import box, done, varied
from tests.waiting import PATIENCE, wait_until

__all__ = ["varied"]


def press() -> None:
    assert bpy.ops.trellis.retexture() == {"FINISHED"}
    done()


def pick(*items: bpy.types.Object) -> None:
    bpy.ops.object.select_all(action="DESELECT")
    for item in items:
        item.select_set(True)
    bpy.context.view_layer.objects.active = items[0]


def shades(item: bpy.types.Object, name: str = "Retexture") -> np.ndarray:
    return np.array([one.color[0] for one in item.data.color_attributes[name].data])


def gradient(item: bpy.types.Object, middle: float, size: float) -> np.ndarray:
    """What the vertices get, by their x, of all that was sent: its middle along x, and its longest side."""
    bpy.context.view_layer.update()
    across = np.array([(item.matrix_world @ vertex.co).x for vertex in item.data.vertices])
    return linear_from_srgb(np.clip((across - middle) / size + 0.5, 0, 1).astype(np.float32))


def array(item: bpy.types.Object, count: int, step: tuple[float, float, float]) -> None:
    modifier = item.modifiers.new("Array", "ARRAY")
    modifier.count, modifier.use_relative_offset, modifier.use_constant_offset = count, False, True
    modifier.constant_offset_displace = step


@pytest.mark.parametrize("scale", [(-1, 1, 1), (-2, -1, -1)])
def test_a_mirrored_object_is_not_coloured_in_a_mirror(varied, scale):
    item = box(location=(3, 0, 0), size=scale)
    press()
    assert np.allclose(shades(item), gradient(item, 3, 2 * max(map(abs, scale))), atol=1e-5)


def test_the_first_of_mirrored_and_repeated_copies_says_the_colours(varied):
    item = box(location=(3, 0, 0), size=(-1, 1, 1))
    for vertex in item.data.vertices:
        vertex.co.x += 2
    item.modifiers.new("Mirror", "MIRROR")
    array(item, 3, (0, 5, 0))
    press()
    assert np.allclose(shades(item), gradient(item, 3, 12), atol=1e-5)  # 12 along y


def test_a_mesh_cut_by_its_mirror_has_as_many_vertices_in_another_order(varied):
    """Two boxes in one mesh: that with x < 0 goes, and the other one's image takes its place."""
    item = box(location=(0, 0, 0), size=(1, 1, 1))
    mesh = bmesh.new()
    for middle in (-4.0, 4.0):
        made = bmesh.ops.create_cube(mesh, size=2)["verts"]
        bmesh.ops.translate(mesh, verts=made, vec=(middle, 0, 0))
    mesh.to_mesh(item.data)
    mesh.free()
    mirror = item.modifiers.new("Mirror", "MIRROR")
    mirror.use_bisect_axis[0] = True
    bpy.context.view_layer.update()
    seen = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    assert len(seen.vertices) == len(item.data.vertices)
    assert [one.co.x for one in seen.vertices] != [one.co.x for one in item.data.vertices]
    press()
    assert np.allclose(shades(item), gradient(item, 0, 10), atol=1e-5)


def test_vertices_without_faces_do_not_count(varied):
    bpy.ops.mesh.primitive_cylinder_add(vertices=7, radius=1, depth=4, location=(5, 0, 0))
    item = bpy.context.object
    mesh = bmesh.new()
    mesh.from_mesh(item.data)
    mesh.edges.new([mesh.verts.new((1000, 0, 0)), mesh.verts.new((-1000, 0, 0))])
    mesh.to_mesh(item.data)
    mesh.free()
    press()
    across = [(item.matrix_world @ vertex.co).x for vertex in item.data.vertices][:-2]
    assert np.allclose(shades(item), gradient(item, (min(across) + max(across)) / 2, 4), atol=1e-5)


def test_slots_of_faces_stay_and_no_uvs_are_needed(varied):
    item = box(size=(1, 1, 1))
    item.data.uv_layers.remove(item.data.uv_layers[0])
    materials = [bpy.data.materials.new(str(number)) for number in range(3)]
    for material in materials:
        item.data.materials.append(material)
    slots = [number % 3 for number in range(6)]
    item.data.polygons.foreach_set("material_index", slots)
    press()
    assert list(item.data.materials) == materials and not item.data.uv_layers
    assert [face.material_index for face in item.data.polygons] == slots
    assert np.allclose(shades(item), gradient(item, 10, 2), atol=1e-5)


def test_what_is_edited_is_coloured_as_it_is_shown(varied):
    item = box(size=(1, 1, 1))
    bpy.ops.object.mode_set(mode="EDIT")
    mesh = bmesh.from_edit_mesh(item.data)
    bmesh.ops.subdivide_edges(mesh, edges=mesh.edges[:], cuts=1, use_grid_fill=True)
    bmesh.update_edit_mesh(item.data)
    assert bpy.ops.trellis.retexture() == {"FINISHED"}
    bpy.ops.object.mode_set(mode="OBJECT")
    done()
    assert len(shades(item)) == 26
    assert np.allclose(shades(item), gradient(item, 10, 2), atol=1e-5)


def test_several_objects_are_coloured_as_one(varied):
    one, other = box(location=(0, 0, 0), name="One"), box(location=(9, 0, 0), size=(-1, 1, 1), name="Other")
    bpy.ops.object.empty_add()
    hidden = box(location=(99, 0, 0), name="Hidden")
    pick(other, one, bpy.data.objects["Empty"], hidden)
    hidden.hide_set(True)
    press()
    for item in (one, other):
        assert np.allclose(shades(item), gradient(item, 4.5, 11), atol=1e-5)
    assert not hidden.data.color_attributes


def test_objects_that_share_a_mesh_are_coloured_one_at_a_time(varied):
    one = box(location=(0, 0, 0), size=(1, 1, 1), name="One")
    twin = bpy.data.objects.new("Twin", one.data)
    bpy.context.scene.collection.objects.link(twin)
    twin.location = (7, 0, 0)
    pick(one, twin)
    assert '"One" and "Twin" share one mesh' in reasons.why_not_retexture(bpy.context)
    pick(twin)
    press()
    assert np.allclose(shades(twin), gradient(twin, 7, 2), atol=1e-5)


def test_what_is_linked_or_no_mesh_says_so(varied, tmp_path):
    bpy.data.libraries.write(str(tmp_path / "lib.blend"), {box(name="Own")})
    bpy.data.objects.remove(bpy.data.objects["Own"])
    with bpy.data.libraries.load(str(tmp_path / "lib.blend"), link=True) as (_, wanted):
        wanted.objects = ["Own"]
    (linked,) = wanted.objects
    bpy.context.scene.collection.objects.link(linked)
    pick(linked)
    assert '"Own" is linked from another file' in reasons.why_not_retexture(bpy.context)
    pick(linked.override_create(remap_local_usages=True))  # whose mesh is linked still
    assert "make it and its mesh local" in reasons.why_not_retexture(bpy.context)


def hide(item: bpy.types.Object, yes: bool) -> None:
    item.hide_set(yes)


def hide_for_good(item: bpy.types.Object, yes: bool) -> None:
    item.hide_viewport = yes


def leave_scene(item: bpy.types.Object, yes: bool) -> None:
    scene = bpy.data.scenes.new("Other") if yes else item.users_scene[0]
    bpy.context.window.scene = scene


@pytest.mark.parametrize("away", [hide, hide_for_good, leave_scene])
def test_colours_wait_until_the_object_is_shown(varied, away):
    item = box(size=(1, 1, 1))
    assert bpy.ops.trellis.retexture() == {"FINISHED"}
    away(item, True)
    told = 'The colors of "Box" are done: show it'
    wait_until(lambda: told in session.status().waiting, meanwhile=session.timer.tick)
    away(item, False)
    done()
    assert np.allclose(shades(item), gradient(item, 10, 2), atol=1e-5)


def test_an_object_of_no_scene_is_waited_for_in_vain(varied):
    item = box()
    assert bpy.ops.trellis.retexture() == {"FINISHED"}
    item.use_fake_user = True
    bpy.context.scene.collection.objects.unlink(item)
    assert session.pump_until_done(PATIENCE)
    assert '"Box" was changed or removed' in session.status().fault


def delete(item: bpy.types.Object) -> None:
    bpy.data.objects.remove(item)
    box(name="Cube")


def open_new_file(item: bpy.types.Object) -> None:
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    assert len(bpy.data.objects["Cube"].data.vertices) == 8


@pytest.mark.parametrize("away", [delete, open_new_file])
@pytest.mark.parametrize("saved", [True, False])
def test_another_object_of_the_name_gets_no_colours(varied, tmp_path, away, saved):
    item = box(name="Cube")
    if saved:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "cube.blend"))
    assert bpy.ops.trellis.retexture() == {"FINISHED"}
    away(item)
    assert session.pump_until_done(PATIENCE)
    assert '"Cube" was changed or removed' in session.status().fault
    assert not bpy.data.objects["Cube"].data.color_attributes


def test_the_object_in_its_file_opened_again_gets_the_colours(varied, tmp_path):
    box(name="Cube", size=(1, 1, 1))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "cube.blend"))
    assert bpy.ops.trellis.retexture() == {"FINISHED"}
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "cube.blend"))
    done()
    item = bpy.data.objects["Cube"]
    assert np.allclose(shades(item), gradient(item, 10, 2), atol=1e-5)


def test_another_attribute_of_the_same_name_stays(varied):
    bpy.context.scene.trellis.finish.texture = "0"
    item = box(size=(1, 1, 1))
    item.data.attributes.new("Retexture", "FLOAT", "POINT").data.foreach_set("value", range(8))
    for move in (0, 5):
        item.location.x += move
        item.data.vertices[0].co.x -= move  # so that other colours come the second time
        bpy.context.view_layer.update()
        press()
    assert [one.value for one in item.data.attributes["Retexture"].data] == list(range(8))
    (shown,) = item.data.color_attributes
    (material,) = item.data.materials
    assert material.node_tree.nodes["Color Attribute"].layer_name == shown.name
    assert np.allclose(shades(item, shown.name), gradient(item, 12.5, 7), atol=1e-5)


def with_uv(item: bpy.types.Object, size: float = 1.0) -> np.ndarray:
    """Gives a box coordinates of each corner, (C, 2): every face has the whole image, times `size`."""
    for former in list(item.data.uv_layers):
        item.data.uv_layers.remove(former)
    layer = item.data.uv_layers.new(name="Own")
    square = size * np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    layer.uv.foreach_set("vector", np.tile(square, (len(item.data.polygons), 1)).ravel())
    return np.tile(square, (len(item.data.polygons), 1))


def pixels(image: bpy.types.Image) -> np.ndarray:
    return np.array(image.pixels, np.float32).reshape(image.size[1], image.size[0], -1)


def test_one_mesh_with_coordinates_gets_an_image_on_them(varied):
    item = box(location=(3, 0, 0), size=(1, 1, 1))
    uv = with_uv(item)
    bpy.context.scene.trellis.finish.texture = "512"
    press()
    image = item.data["trellis_retexture"]
    assert tuple(image.size) == (512, 512) and image.packed_file is not None
    steps = (np.arange(512) + 0.5) / 512  # rows from the bottom up, as coordinates count
    assert np.allclose(pixels(image)[..., 0], steps[None], atol=0.01)
    assert np.allclose(pixels(image)[..., 1], steps[:, None], atol=0.01)
    assert np.allclose(shades(item), gradient(item, 3, 2), atol=1e-5)
    kept = np.array([one.vector for one in item.data.uv_layers["Own"].uv])
    assert np.array_equal(kept, uv) and len(item.data.uv_layers) == 1
    nodes = item.active_material.node_tree.nodes  # of the material that it did not have
    assert [one.image for one in nodes if one.type == "TEX_IMAGE"] == [image]


def test_a_second_image_takes_the_place_of_the_first_in_materials(varied):
    item = box(location=(3, 0, 0), size=(1, 1, 1))
    with_uv(item)
    bpy.context.scene.trellis.finish.texture = "512"
    own = bpy.data.materials.new("Own")
    item.data.materials.append(own)
    press()
    assert item.active_material == own and "choose it in a material" in session.status().note
    own.use_nodes = True
    shown = own.node_tree.nodes.new("ShaderNodeTexImage")
    shown.image = item.data["trellis_retexture"]
    name = shown.image.name
    press()
    assert shown.image == item.data["trellis_retexture"] and shown.image.name == name
    assert [one.name for one in bpy.data.images if "Retexture" in one.name] == [name]


def test_a_copy_that_is_colored_anew_leaves_the_original_its_image(varied):
    item = box(location=(3, 0, 0), size=(1, 1, 1))
    with_uv(item)
    bpy.context.scene.trellis.finish.texture = "512"
    press()
    image, material = item.data["trellis_retexture"], item.active_material
    copy = item.copy()
    copy.data = item.data.copy()
    bpy.context.scene.collection.objects.link(copy)
    pick(copy)
    press()
    assert item.data["trellis_retexture"] == image and item.active_material == material
    shown = [
        next(node.image for node in one.active_material.node_tree.nodes if node.type == "TEX_IMAGE")
        for one in (item, copy)
    ]
    assert shown == [image, copy.data["trellis_retexture"]] and shown[0] != shown[1]


def test_several_meshes_get_an_image_each_of_their_own_tile(varied):
    items = [box(location=(3 * n, 0, 0), size=(1, 1, 1)) for n in range(3)]
    for item in items:
        with_uv(item)
    bpy.context.scene.trellis.finish.texture = "512"
    pick(*items)
    press()
    lows = set()
    for item in items:
        image = pixels(item.data["trellis_retexture"])
        steps = (np.arange(512) + 0.5) / 1024
        low = tuple(np.floor(2 * image[256, 256, :2]) / 2)
        assert np.allclose(image[..., 0], low[0] + steps[None], atol=0.01)
        assert np.allclose(image[..., 1], low[1] + steps[:, None], atol=0.01)
        lows.add(low)
        nodes = item.active_material.node_tree.nodes
        assert [one.image for one in nodes if one.type == "TEX_IMAGE"] == [item.data["trellis_retexture"]]
    assert lows == {(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)}


def test_no_image_where_coordinates_lead_out_of_it(varied):
    first, second = box(location=(3, 0, 0), size=(1, 1, 1)), box(location=(6, 0, 0), size=(1, 1, 1))
    with_uv(first, size=2.0)
    with_uv(second)
    bpy.context.scene.trellis.finish.texture = "512"
    pick(first)
    press()
    pick(first, second)
    press()
    assert not any("Retexture" in one.name for one in bpy.data.images)
    assert all("Retexture" in one.data.color_attributes for one in (first, second))
