"""Objects of Gaussians: into Blender and out again, moved, cropped, joined, edited in edit mode."""

import math
from dataclasses import replace

import bmesh
import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix

from blender_trellis.app_handlers import hook, unhook
from blender_trellis.scene.display.colors import colors_in_use
from blender_trellis.scene.gaussians import moved_vertices
from blender_trellis.scene.gaussians.nodes import SIZE, get_input, set_input
from blender_trellis.scene.gaussians.object import is_instanced, splats_of
from blender_trellis.splats import quaternions
from blender_trellis.splats.files import TO_FILE, read_splats
from blender_trellis.splats.ply import write_ply
from blender_trellis.splats.values import Splats
from blender_trellis.ui.splats import moving, operators

N = 60


def _splats(seed: int = 1, harmonic_count: int = 8) -> Splats:
    random = np.random.default_rng(seed)
    values = {
        "position": random.uniform(-1, 1, (N, 3)),
        "f_dc": random.normal(size=(N, 3)),
        "opacity": random.normal(size=(N, 1)),
        "scale": random.uniform(-5, -2, (N, 3)),
        "rotation": random.normal(size=(N, 4)),
        "f_rest": random.normal(size=(N, 3, harmonic_count)) * 0.3,
    }
    return Splats(**{name: value.astype(np.float32) for name, value in values.items()})


def _covariances(splats: Splats) -> np.ndarray:
    axes = quaternions.matrices(splats.rotation) * np.exp(splats.scale)[:, None]
    return axes @ axes.transpose(0, 2, 1)


def _assert_same(found: Splats, expected: Splats) -> None:
    np.testing.assert_allclose(found.position, expected.position, atol=1e-5)
    np.testing.assert_allclose(_covariances(found), _covariances(expected), rtol=1e-3, atol=1e-6)
    for name in ("f_dc", "opacity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.f_rest, expected.f_rest, atol=1e-5)


@pytest.fixture
def imported(addon, tmp_path):
    """Imports splats through a file; gives the object."""

    def run(splats: Splats, up: str = "NEGATIVE_Y", name: str = "scan") -> bpy.types.Object:
        write_ply(tmp_path / f"{name}.ply", splats)
        assert bpy.ops.trellis.import_splats(filepath=str(tmp_path / f"{name}.ply"), up=up) == {"FINISHED"}
        bpy.context.view_layer.update()
        return bpy.context.object

    return run


def test_a_file_stands_upright_and_comes_out_as_it_went_in(imported, tmp_path):
    splats = _splats()
    item = imported(splats)
    assert item.name == "scan" and item.select_get()
    _assert_same(splats_of(item), splats)
    x, y, z = splats.position[0]
    world = item.matrix_world @ item.data.vertices[0].co
    np.testing.assert_allclose(world, (x, z, -y), atol=1e-6)  # up is -y in the file
    assert bpy.ops.trellis.export_splats(filepath=str(tmp_path / "out.ply")) == {"FINISHED"}
    _assert_same(read_splats(tmp_path / "out.ply")[0], splats)


def test_the_scene_is_set_so_that_rays_pass_and_colors_are_the_files(imported):
    scene = bpy.context.scene
    assert scene.cycles.transparent_max_bounces == 8 and scene.view_settings.view_transform == "AgX"
    item = imported(_splats())
    assert scene.cycles.transparent_max_bounces == 1024
    assert colors_in_use(scene, item) == "VIEWERS"
    scene.view_settings.view_transform = "Filmic"  # an artist's choice stays
    imported(_splats(), name="another")
    assert scene.view_settings.view_transform == "Filmic"


def test_a_moved_object_is_exported_where_it_stands(imported, tmp_path):
    splats = _splats()
    item = imported(splats, up="Z")
    item.location, item.scale, item.rotation_euler = (1, 2, 3), (0.5, 0.5, 0.5), (0.3, -0.7, 2.0)
    bpy.context.view_layer.update()
    bpy.ops.trellis.export_splats(filepath=str(tmp_path / "out.ply"))
    expected = splats.moved(np.array(item.matrix_world)).moved(TO_FILE)
    _assert_same(read_splats(tmp_path / "out.ply")[0], expected)


@pytest.mark.parametrize("scale", [(0.5, 0.5, 0.5), (1, -2, 0.7)])
def test_blenders_own_apply_takes_shapes_and_harmonics_along(imported, scale):
    splats = _splats()
    item = imported(splats, up="Z")
    item.location, item.scale, item.rotation_euler = (1, 2, 3), scale, (0.3, -0.7, 2.0)
    bpy.context.view_layer.update()
    expected = splats.moved(np.array(item.matrix_world))
    bpy.ops.object.transform_apply(location=True, rotation=True, scale=True)
    bpy.context.view_layer.update()
    assert item.matrix_world == Matrix.Identity(4)
    _assert_same(splats_of(item), expected)


@pytest.mark.parametrize("count, flat", [(1, (1, 1, 1)), (1, (0, 0, 0)), (3, (1, 1, 1)), (N, (1, 1, 0))])
def test_apply_turns_splats_whose_places_do_not_tell_of_one_turn(imported, count, flat):
    splats = _splats().taken(np.arange(count))
    splats = replace(splats, position=splats.position * np.array(flat, np.float32))
    item = imported(splats, up="Z")
    for _ in range(2):
        item.location, item.scale, item.rotation_euler = (1, 2, 3), (1, -2, 0.7), (0.3, -0.7, 2.0)
        bpy.context.view_layer.update()
        expected = splats_of(item).moved(np.array(item.matrix_world))
        bpy.ops.object.transform_apply(location=True, rotation=True, scale=True)
        bpy.context.view_layer.update()
        _assert_same(splats_of(item), expected)
    item.rotation_euler = (0, 1, 0)  # what only moves the object leaves its splats
    bpy.context.view_layer.update()
    item.rotation_euler = (0, 0, 0)
    item.update_tag()
    bpy.context.view_layer.update()
    _assert_same(splats_of(item), expected)


def test_a_step_of_undo_from_before_the_shapes_followed_is_mended(imported):
    splats = _splats()
    item = imported(splats, up="Z")
    matrix = Matrix.Rotation(1.0, 4, "X")
    item.data.transform(matrix)  # as a step holds it: the vertices have moved, their values have not
    moved_vertices._look(bpy.context.scene)
    _assert_same(splats_of(item), splats.moved(np.array(matrix)))


def test_moving_some_splats_in_edit_mode_leaves_their_shapes(imported):
    item = imported(_splats(), up="Z")
    before = splats_of(item)
    for vertex in list(item.data.vertices)[::2]:
        vertex.co.z += 0.5
    item.data.update()
    bpy.context.view_layer.update()
    found = splats_of(item)
    assert (found.position != before.position).any()
    for name in ("rotation", "scale", "f_rest"):
        np.testing.assert_array_equal(getattr(found, name), getattr(before, name))


def test_splats_that_were_turned_after_others_were_deleted_are_turned_whole(imported):
    splats = _splats()
    item = imported(splats, up="Z")
    turn = Matrix.Rotation(1.0, 4, "X")
    edited = bmesh.new()
    edited.from_mesh(item.data)
    edited.verts.ensure_lookup_table()
    bmesh.ops.delete(edited, geom=edited.verts[:7], context="VERTS")
    edited.transform(turn)
    edited.to_mesh(item.data)
    edited.free()
    item.data.update()
    bpy.context.view_layer.update()
    _assert_same(splats_of(item), splats.taken(np.arange(7, N)).moved(np.array(turn)))


@pytest.mark.parametrize("way, size", [(0, 5e-5), (5e3, 1), (2e5, 1)])
def test_apply_turns_splats_that_are_tiny_or_far_from_the_origin(imported, way, size):
    splats = _splats()
    item = imported(replace(splats, position=splats.position + np.float32(way)), up="Z")
    before = splats_of(item)
    item.rotation_euler, item.scale = (0, 0, 0.7), (size,) * 3
    bpy.context.view_layer.update()
    expected = before.moved(np.array(item.matrix_world))
    bpy.ops.object.transform_apply(location=True, rotation=True, scale=True)
    bpy.context.view_layer.update()
    off = np.abs(_covariances(splats_of(item)) - _covariances(expected)).max()
    assert off < 0.03 * np.abs(_covariances(expected)).max()


@pytest.mark.parametrize("inside", [False, True])
def test_splats_are_cropped_by_a_turned_box(imported, inside):
    splats = _splats()
    item = imported(splats, up="Z")
    item.location = (0.1, 0, 0)
    bpy.ops.object.empty_add(type="CUBE", radius=0.5, rotation=(0, 0, math.radians(45)))
    box = bpy.context.object
    box.scale = (2, 1, 1)
    item.select_set(True)
    bpy.context.view_layer.update()
    bpy.ops.trellis.crop_splats(inside=inside)
    x, y, z = (splats.position + (0.1, 0, 0)).T
    within = (abs(x + y) / np.sqrt(2) < 1.0) & (abs(y - x) / np.sqrt(2) < 0.5) & (abs(z) < 0.5)
    assert 3 < within.sum() < N - 3
    _assert_same(splats_of(item), splats.taken(~within if inside else within))


def _with_box(*items: bpy.types.Object, size: float = 0.5) -> bpy.types.Object:
    """An empty at the origin, active, selected with the items alone."""
    bpy.ops.object.empty_add(type="CUBE", radius=size)
    for item in items:
        item.select_set(True)
    bpy.context.view_layer.update()
    return bpy.context.object


def _linked_duplicate(item: bpy.types.Object, x: float) -> bpy.types.Object:
    copy = item.copy()
    bpy.context.collection.objects.link(copy)
    copy.location.x += x
    return copy


def test_linked_duplicates_are_cropped_each_for_itself(imported):
    splats = _splats()
    item = imported(splats, up="Z")
    copy = _linked_duplicate(item, 0.3)
    other = _linked_duplicate(item, 9)
    _with_box(item, copy)
    bpy.ops.trellis.crop_splats()
    for one, x in ((item, 0), (copy, 0.3)):
        within = (np.abs(splats.position + (x, 0, 0)) <= 0.5).all(axis=1)
        np.testing.assert_array_equal(splats_of(one).position, splats.position[within])
    assert len(other.data.vertices) == N


def test_splats_are_joined_into_one_of_several_linked_duplicates(imported):
    item = imported(_splats(), up="Z")
    copy, other = _linked_duplicate(item, 1), _linked_duplicate(item, 9)
    other.select_set(False)
    bpy.context.view_layer.objects.active = item
    copy.select_set(True)
    bpy.context.view_layer.update()
    bpy.ops.trellis.join_splats()
    assert len(item.data.vertices) == 2 * N and len(other.data.vertices) == N


def test_what_an_artist_added_stays_with_its_splats(imported):
    splats = _splats()
    item = imported(splats, up="Z")
    item.vertex_groups.new(name="mine").add(range(10, 40), 0.5, "REPLACE")
    item.data.attributes.new("own", "FLOAT", "POINT").data.foreach_set(
        "value", np.arange(N, dtype=np.float32)
    )
    _with_box(item)
    bpy.ops.trellis.crop_splats()
    rows = np.flatnonzero((np.abs(splats.position) <= 0.5).all(axis=1))
    bpy.context.object.select_set(False)
    imported(_splats(2), name="other")
    item.select_set(True)
    bpy.context.view_layer.objects.active = item
    bpy.ops.trellis.join_splats()
    found = [one.value for one in item.data.attributes["own"].data]
    assert found == [*rows, *([0] * N)]
    weighted = [bool(vertex.groups) for vertex in item.data.vertices]
    assert weighted == [10 <= row < 40 for row in rows] + [False] * N
    assert item.data.color_attributes.active_color_name == "Color"
    item.shape_key_add(name="Basis")
    _with_box(item)
    assert not bpy.ops.trellis.crop_splats.poll()


def test_harmonics_that_were_deleted_are_none(imported, tmp_path):
    item = imported(_splats(), up="Z")
    expected = splats_of(item)
    expected.f_rest[:, 1, 2] = 0
    item.data.attributes.remove(item.data.attributes["f_rest_10"])
    np.testing.assert_array_equal(splats_of(item).f_rest, expected.f_rest)
    assert bpy.ops.trellis.export_splats(filepath=str(tmp_path / "out.ply")) == {"FINISHED"}


@pytest.mark.parametrize("is_copy", [True, False])
def test_new_splats_are_not_drawn_by_nodes_that_somebody_changed(imported, is_copy):
    first = imported(_splats()).modifiers["Splats"].node_group
    changed = first.copy() if is_copy else first
    changed.name = "A" if is_copy else changed.name
    assert imported(_splats(2), name="b").modifiers["Splats"].node_group == first
    next(
        node for node in changed.nodes if node.type == "MATH" and not node.inputs[1].links
    ).operation = "SINE"
    third = imported(_splats(2), name="c").modifiers["Splats"].node_group
    assert third != changed and (third == first) == is_copy
    assert imported(_splats(2), name="d").modifiers["Splats"].node_group == third


def test_a_crop_that_would_leave_nothing_changes_nothing(imported):
    items = imported(_splats(), up="Z"), imported(_splats(2), up="Z", name="far")
    items[1].location.x = 9
    _with_box(*items)
    with pytest.raises(RuntimeError, match="far would have no splats left"):
        bpy.ops.trellis.crop_splats()
    assert [len(item.data.vertices) for item in items] == [N, N]


def test_splats_are_cropped_by_a_box_that_is_selected_and_has_a_size(imported):
    item = imported(_splats(), up="Z")
    bpy.ops.object.camera_add()
    camera = bpy.context.object
    item.select_set(True)
    assert not bpy.ops.trellis.crop_splats.poll()
    bpy.ops.object.empty_add(type="CUBE")
    item.select_set(True)
    assert bpy.context.object != camera and bpy.ops.trellis.crop_splats.poll()
    bpy.context.object.select_set(False)
    assert not bpy.ops.trellis.crop_splats.poll()


def test_nothing_is_imported_while_a_mesh_is_edited(addon):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.ops.trellis.import_splats.poll() and not bpy.ops.trellis.import_radiance_field.poll()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.trellis.import_splats.poll() and bpy.ops.trellis.import_radiance_field.poll()


def test_joined_splats_stay_where_they_stood(imported):
    first = imported(_splats(), up="Z", name="first")
    second = imported(_splats(seed=2, harmonic_count=15), up="NEGATIVE_Y", name="second")
    second.location = (0, 0, 4)
    first.location = (1, 0, 0)
    set_input(first.modifiers["Splats"], SIZE, 2.0)
    first.select_set(True)
    bpy.context.view_layer.objects.active = first
    bpy.context.view_layer.update()
    expected = _splats(seed=2, harmonic_count=15).moved(np.array(second.matrix_world))
    bpy.ops.trellis.join_splats()
    assert [item.name for item in bpy.data.objects] == ["first"]
    world = splats_of(first).moved(np.array(first.matrix_world))
    _assert_same(world.taken(slice(N, None)), expected)
    assert not world.f_rest[:N, :, 8:].any()
    assert get_input(first.modifiers["Splats"], SIZE) == 2.0
    assert first.modifiers["Splats"].node_group["trellis_splats"][1] == 3


def test_what_hangs_on_joined_splats_stays_where_it_stands(imported):
    outer = imported(_splats(), up="Z", name="outer")
    target = imported(_splats(), up="Z", name="target")
    child = bpy.data.objects.new("child", None)
    bpy.context.collection.objects.link(child)
    target.parent = child.parent = outer
    outer.matrix_world = Matrix.LocRotScale((3, 0, 0), Euler((0, 1, 0)), (1, 2, 1))
    target.location, child.location = (0, 4, 0), (0, 0, 5)
    bpy.context.view_layer.update()
    before = [np.array(item.matrix_world) for item in (target, child)]
    outer.select_set(True)
    bpy.ops.trellis.join_splats()
    bpy.context.view_layer.update()
    assert child.parent == target and target.parent is None
    for item, matrix in zip((target, child), before, strict=True):
        np.testing.assert_allclose(np.array(item.matrix_world), matrix, atol=1e-5)


def test_blenders_own_edit_mode_deletes_splats(imported):
    splats = _splats()
    item = imported(splats, up="Z")
    bpy.ops.object.mode_set(mode="OBJECT")
    chosen = splats.position[:, 0] > 0
    for vertex, value in zip(item.data.vertices, chosen, strict=True):
        vertex.select = bool(value)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.context.tool_settings.mesh_select_mode = (True, False, False)
    bpy.ops.mesh.delete(type="VERT")
    bpy.ops.object.mode_set(mode="OBJECT")
    _assert_same(splats_of(item), splats.taken(~chosen))


def test_splats_that_are_edited_are_not_shown_as_points(imported, monkeypatch):
    item = imported(_splats())
    monkeypatch.setattr(moving, "MANY", 1)
    bpy.ops.object.mode_set(mode="EDIT")
    moving._memory.is_moving = True
    moving._tick()
    assert item.display_type == "TEXTURED"
    bpy.ops.object.mode_set(mode="OBJECT")
    moving._memory.is_moving = True
    moving._tick()
    assert item.display_type == "BOUNDS"
    moving._show_splats()


def test_a_recovered_file_shows_splats_that_were_points(imported, tmp_path):
    item = imported(_splats())
    item[moving.SHOWN_AS], item.display_type = "TEXTURED", "BOUNDS"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "recovered.blend"))
    hook(moving._show_splats, moving._moments())
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "recovered.blend"))
    unhook(moving._show_splats, moving._moments())
    assert bpy.data.objects["scan"].display_type == "TEXTURED"


def test_a_compressed_file_holds_the_same_splats(imported, tmp_path):
    splats = _splats()
    imported(splats, up="Z")
    bpy.ops.trellis.export_splats(filepath=str(tmp_path / "a.ply"), layout="PACKED")
    bpy.ops.trellis.export_splats(filepath=str(tmp_path / "b.ply"))
    packed, whole = (read_splats(tmp_path / name)[0] for name in ("a.ply", "b.ply"))
    packed, whole = (part.taken(np.argsort(part.position[:, 0])) for part in (packed, whole))
    np.testing.assert_allclose(packed.position, whole.position, atol=2 / 1023)
    np.testing.assert_allclose(_covariances(packed), _covariances(whole), atol=2e-3)
    assert (tmp_path / "a.ply").stat().st_size < (tmp_path / "b.ply").stat().st_size


@pytest.mark.parametrize("layout", ["PLY", "PACKED"])
def test_splats_that_were_spoilt_in_blender_spoil_no_others(imported, tmp_path, layout):
    splats = _splats()
    item = imported(splats, up="Z")
    item.data.attributes["scale_0"].data[7].value = math.nan
    item.scale = (1, 2, 3)
    bpy.context.view_layer.update()
    bpy.ops.trellis.export_splats(filepath=str(tmp_path / "a.ply"), layout=layout)
    read, left_out = read_splats(tmp_path / "a.ply")
    kept = splats.position[np.arange(N) != 7] * (1, 2, 3) @ TO_FILE[:3, :3].T
    assert left_out == 0
    np.testing.assert_allclose(np.sort(read.position, axis=0), np.sort(kept, axis=0), atol=6 / 1023)


def test_splats_of_an_instanced_collection_are_told_of(imported):
    item, kit = imported(_splats()), bpy.data.collections.new("kit")
    kit.children.link(inner := bpy.data.collections.new("inner"))
    inner.objects.link(item)
    assert not is_instanced(item, bpy.context.scene)
    bpy.ops.object.collection_instance_add(name="kit")
    assert is_instanced(item, bpy.context.scene)


def test_modifiers_that_an_export_leaves_out_are_told_of(imported, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(operators, "report", lambda operator, level, sentence: told.append((level, sentence)))
    item = imported(_splats())
    item.modifiers.new("Mask", "MASK")
    bpy.ops.trellis.export_splats(filepath=str(tmp_path / "a.ply"))
    assert not [sentence for level, sentence in told if level == "WARNING"]
    item.modifiers.move(1, 0)
    bpy.ops.trellis.export_splats(filepath=str(tmp_path / "b.ply"))
    assert [sentence for level, sentence in told if level == "WARNING" and "before Splats" in sentence]


def test_what_cannot_be_read_is_told(addon, tmp_path):
    (tmp_path / "a.ply").write_bytes(b"no ply")
    with pytest.raises(RuntimeError, match="not a PLY file"):
        bpy.ops.trellis.import_splats(filepath=str(tmp_path / "a.ply"))
    assert not bpy.data.objects


def test_operators_without_gaussians_are_grey(addon):
    bpy.ops.mesh.primitive_cube_add()
    for name in ("export_splats", "crop_splats", "join_splats"):
        assert not getattr(bpy.ops.trellis, name).poll()


def test_splats_alone_are_set_up_as_viewers_show_them(imported):
    splats, scene = imported(_splats()), bpy.context.scene
    for item in [item for item in scene.objects if item.type == "MESH" and item != splats]:
        bpy.data.objects.remove(item)
    assert bpy.ops.trellis.true_colors() == {"FINISHED"}
    assert colors_in_use(scene, splats) == "VIEWERS"
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.trellis.true_colors()
    assert colors_in_use(scene, splats) == "STANDARD"
    bpy.context.object.hide_render = True
    bpy.ops.trellis.true_colors()
    assert colors_in_use(scene, splats) == "VIEWERS"
    bpy.ops.trellis.true_colors(colors="STANDARD")
    assert colors_in_use(scene, splats) == "STANDARD"


def test_splats_are_imported_while_a_linked_collection_is_active(imported, tmp_path):
    path, kit = str(tmp_path / "kit.blend"), bpy.data.collections.new("kit")
    bpy.data.libraries.write(path, {kit}, fake_user=True)
    bpy.data.collections.remove(kit)
    with bpy.data.libraries.load(path, link=True) as (_, found):
        found.collections = ["kit"]
    scene = bpy.context.scene
    scene.collection.children.link(found.collections[0])
    layer = bpy.context.view_layer
    layer.active_layer_collection = layer.layer_collection.children["kit"]
    assert imported(_splats()).users_collection == (scene.collection,)


def test_splats_of_another_file_are_neither_cropped_nor_joined(imported, tmp_path):
    path = str(tmp_path / "scans.blend")
    first, second = imported(_splats()), imported(_splats(2), name="other")
    bpy.data.libraries.write(path, {first, second}, fake_user=True)
    names = first.name, second.name
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(path, link=True) as (_, found):
        found.objects = list(names)
    for item in found.objects:
        bpy.context.scene.collection.objects.link(item)
        item.select_set(True)
        bpy.context.view_layer.objects.active = item
    assert bpy.ops.trellis.export_splats.poll() and not bpy.ops.trellis.join_splats.poll()
    bpy.ops.mesh.primitive_cube_add()
    for item in found.objects:
        item.select_set(True)
    assert not bpy.ops.trellis.crop_splats.poll()
