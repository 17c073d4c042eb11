"""An edit's result in the scene: outside of the region everything stays the artist's own."""

import dataclasses
import json

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector
from test_latents import PNG, _latents

from blender_trellis.editing.region_objects import add_box
from blender_trellis.scene.asset import Asset, Change, fingerprint
from blender_trellis.scene.collection import add_asset
from blender_trellis.scene.find_asset import (
    KEY,
    asset_matrix,
    asset_of_object,
    find_asset,
    in_use,
    part,
    vertex_keys,
)
from blender_trellis.scene.gaussians import moved_vertices
from blender_trellis.scene.gaussians.object import add_splats, keep_splats, splats_of
from blender_trellis.scene.latents import read_latents, read_pictures
from blender_trellis.scene.replace import changed_by_hand, fits, replace_asset
from blender_trellis.splats.values import joined
from blender_trellis.srgb import linear_from_srgb

SIDE = 12


def _sheet(bump: float = 0.0, holes: bool = False) -> dict[str, np.ndarray]:
    """A wavy sheet of triangles; right of the middle it is level and may be raised or have holes."""
    x, y = (
        values.ravel() for values in np.meshgrid(np.linspace(-0.4, 0.4, SIDE), np.linspace(-0.3, 0.3, SIDE))
    )
    places = np.stack([x, y, np.where(x > 0.05, bump, 0.02 * np.cos(9 * x + 7 * y))], axis=1).astype(
        np.float32
    )
    cells = np.array([row * SIDE + column for row in range(SIDE - 1) for column in range(SIDE - 1)])
    triangles = [
        np.stack([cells, cells + 1, cells + SIDE + 1], 1),
        np.stack([cells, cells + SIDE + 1, cells + SIDE], 1),
    ]
    faces = np.concatenate(triangles).astype(np.int32)
    keys = np.arange(len(places), dtype=np.int32) * 5 + 2
    kept = (x < 0.05).astype(np.uint8)
    if holes:
        gone = (x > 0.05) & (np.arange(len(x)) % 3 == 0)
        faces = faces[~gone[faces].any(axis=1)]
        places, faces, keys, kept = _without(gone, places, faces, keys, kept)
    colors = np.tile(np.array([[0.2, 0.4, 0.9 if bump else 0.3]], np.float32), (len(places), 1))
    colors[kept == 1] = (0.2, 0.4, 0.3)
    # In another order than the scene's: only the keys say which is which.
    turned = np.random.default_rng(len(places)).permutation(len(places))
    where = np.argsort(turned).astype(np.int32)
    return {
        "vertices": places[turned],
        "faces": where[faces],
        "colors": colors[turned],
        "keys": keys[turned],
        "kept": kept[turned],
    }


def _without(gone, places, faces, *others):
    index = np.cumsum(~gone) - 1
    return places[~gone], index[faces].astype(np.int32), *(values[~gone] for values in others)


def _splats(sheet: dict[str, np.ndarray], f_dc: float) -> dict[str, np.ndarray]:
    count = len(sheet["vertices"])
    values = {
        "position": sheet["vertices"] + np.float32(0.01),
        "f_dc": np.full((count, 3), f_dc, np.float32),
        "opacity": np.full((count, 1), 2 + f_dc, np.float32),
        "scale": np.full((count, 3), -4 - f_dc, np.float32),
        "rotation": np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
    }
    return values | {name: sheet[name] for name in ("keys", "kept") if name in sheet}


def _first() -> Asset:
    sheet = _sheet()
    del sheet["kept"]
    history = json.dumps([{"mode": "generate", "seed": 1}])
    properties = {"seed": 1, "history": history, "picture_hash": "aa"}
    return Asset(
        "chair",
        mesh=sheet,
        gaussian=_splats(sheet, 0.1),
        properties=properties,
        latents=_latents(),
        pictures=(("own.png", PNG),),
    )


def _edit(mode: str = "replace", seed: int = 2, base: int = 1, **changes) -> Asset:
    sheet = _sheet(**({"bump": 0.2} | changes))
    step = {"mode": mode, "seed": seed}
    return Asset(
        "chair",
        mesh=sheet,
        gaussian=_splats(sheet, 0.7),
        properties={"seed": seed, "history": json.dumps([step])},
        latents=_latents(seed=seed),
        change=Change(mode, fingerprint(_latents(seed=base).arrays)),
        pictures=(("guide.png", PNG),),
    )


def _add(asset: Asset) -> bpy.types.Collection:
    return add_asset(asset, bpy.context.scene, bpy.context.view_layer)


def _positions(mesh: bpy.types.Mesh) -> dict[int, tuple[float, ...]]:
    return {
        key: tuple(vertex.co) for key, vertex in zip(vertex_keys(mesh).tolist(), mesh.vertices, strict=True)
    }


def _faces(mesh: bpy.types.Mesh) -> set[frozenset[int]]:
    keys = vertex_keys(mesh)
    return {frozenset(keys[list(face.vertices)].tolist()) for face in mesh.polygons}


def _assert_is(mesh: bpy.types.Mesh, arrays: dict[str, np.ndarray]) -> None:
    """The mesh is the result, up to the order of its vertices and faces."""
    expected = {
        int(key): tuple(place) for key, place in zip(arrays["keys"], arrays["vertices"].tolist(), strict=True)
    }
    assert _positions(mesh) == expected
    keys = arrays["keys"]
    assert _faces(mesh) == {frozenset(keys[face].tolist()) for face in arrays["faces"]}
    assert len(mesh.polygons) == len(arrays["faces"])
    color = np.empty(4 * len(mesh.vertices), np.float32)
    mesh.color_attributes["Color"].data.foreach_get("color", color)
    order = [np.flatnonzero(keys == key)[0] for key in vertex_keys(mesh)]
    np.testing.assert_allclose(
        color.reshape(-1, 4)[:, :3], linear_from_srgb(arrays["colors"])[order], atol=1e-6
    )
    assert not mesh.validate()


@pytest.mark.parametrize("changes", [{}, {"holes": True}, {"bump": 0.0, "holes": True}])
def test_an_untouched_asset_becomes_the_result(changes):
    collection = _add(_first())
    edit = _edit(**changes)
    assert not changed_by_hand(collection) and fits(collection, edit)
    replace_asset(collection, edit)
    _assert_is(part(collection, "mesh").data, edit.mesh)
    splats = part(collection, "gaussian").data
    assert len(splats.vertices) == len(edit.gaussian["position"])
    rows = {key: row for row, key in enumerate(vertex_keys(splats).tolist())}
    for place, key in enumerate(edit.gaussian["keys"].tolist()):
        value = 0.1 if edit.gaussian["kept"][place] else 0.7
        for name, expected in (("f_dc_1", value), ("opacity", 2 + value), ("scale_2", -4 - value)):
            assert splats.attributes[name].data[rows[key]].value == pytest.approx(expected)
        assert tuple(splats.vertices[rows[key]].co) == tuple(edit.gaussian["position"][place])


def test_where_nothing_is_new_the_rest_is_left():
    collection = _add(_first())
    edit = _edit("remove")
    left = edit.mesh["kept"] == 1
    places, faces = _without(
        ~left, edit.mesh["vertices"], edit.mesh["faces"][left[edit.mesh["faces"]].all(axis=1)]
    )
    cut = {name: edit.mesh[name][left] for name in ("colors", "keys", "kept")} | {
        "vertices": places,
        "faces": faces,
    }
    gaussian = {name: values[left] for name, values in edit.gaussian.items()}
    replace_asset(collection, dataclasses.replace(edit, mesh=cut, gaussian=gaussian))
    _assert_is(part(collection, "mesh").data, cut)
    assert len(part(collection, "gaussian").data.vertices) == left.sum()


def _sculpt(item: bpy.types.Object) -> None:
    """What artists do that leaves the topology alone."""
    mesh = item.data
    for vertex in mesh.vertices:
        vertex.co.z += 0.03 * np.sin(40 * vertex.co.x)
    mesh.uv_layers.new(name="UVMap")
    mesh.uv_layers["UVMap"].data.foreach_set(
        "uv", np.random.default_rng(0).random(2 * len(mesh.loops), np.float32)
    )
    group = item.vertex_groups.new(name="Arm")
    for vertex in mesh.vertices:
        group.add([vertex.index], (vertex.index % 7) / 7 + 0.01, "REPLACE")
    for name, kind, domain in (
        ("wear", "FLOAT", "POINT"),
        ("crease_edge", "FLOAT", "EDGE"),
        ("group", "INT", "FACE"),
        ("frame", "FLOAT4X4", "POINT"),
        ("frames", "FLOAT4X4", "FACE"),
        ("flow", "FLOAT_VECTOR", "CORNER"),
        ("turn", "QUATERNION", "POINT"),
        ("pair", "INT32_2D", "POINT"),
        ("tint", "BYTE_COLOR", "CORNER"),
    ):
        mesh.attributes.new(name, kind, domain)
    random = np.random.default_rng(1)
    for attribute in [one for one in mesh.attributes if not one.is_internal and one.name not in KNOWN]:
        item_name = {"FLOAT_VECTOR": "vector", "BYTE_COLOR": "color"}.get(attribute.data_type, "value")
        width = {"FLOAT_VECTOR": 3, "BYTE_COLOR": 4, "FLOAT4X4": 16, "QUATERNION": 4, "INT32_2D": 2}
        size = len(attribute.data) * width.get(attribute.data_type, 1)
        whole = attribute.data_type.startswith("INT")
        values = random.integers(0, 99, size).astype(np.int32) if whole else random.random(size, np.float32)
        attribute.data.foreach_set(item_name, values)
    item.shape_key_add(name="Basis")
    smile = item.shape_key_add(name="Smile")
    for place, point in enumerate(smile.data):
        point.co.y += 0.001 * place
    smile.value = 0.5


KNOWN = ("position", "trellis_key", "Color", "UVMap", "sharp_face", "material_index")


def _details(item: bpy.types.Object) -> dict[tuple, tuple]:
    """All values of vertices, edges, faces and corners left of the middle, by the keys of their vertices."""
    mesh = item.data
    keys = vertex_keys(mesh).tolist()
    left = {key for key, vertex in zip(keys, mesh.vertices, strict=True) if vertex.co.x < 0.0}
    names = {
        "POINT": [(key,) for key in keys],
        "EDGE": [tuple(sorted(keys[v] for v in edge.vertices)) for edge in mesh.edges],
        "FACE": [tuple(sorted(keys[v] for v in face.vertices)) for face in mesh.polygons],
        "CORNER": [
            (keys[mesh.loops[corner].vertex_index], *sorted(keys[v] for v in face.vertices))
            for face in mesh.polygons
            for corner in face.loop_indices
        ],
    }
    found = {}
    for attribute in mesh.attributes:
        if attribute.is_internal and attribute.name not in (".edge_verts",):
            continue
        for name, entry in zip(names[attribute.domain], attribute.data, strict=True):
            if set(name) <= left and attribute.name != ".edge_verts":
                value = next(
                    getattr(entry, one) for one in ("value", "vector", "color") if hasattr(entry, one)
                )
                flat = np.array(value).ravel().tolist()
                found[attribute.name, *name] = tuple(flat)
    for key, vertex in zip(keys, mesh.vertices, strict=True):
        if key in left:
            found["weights", key] = tuple((one.group, one.weight) for one in vertex.groups)
            found["smile", key] = tuple(mesh.shape_keys.key_blocks["Smile"].data[vertex.index].co)
    return found


@pytest.mark.parametrize("holes", [False, True])
def test_what_an_artist_did_outside_survives(holes):
    collection = _add(_first())
    item = part(collection, "mesh")
    _sculpt(item)
    root = part(collection, "root")
    root.location, root.rotation_euler, item.scale = (5, 6, 7), (0.1, 0.2, 0.3), (1, 1, 2)
    item.modifiers.new("Waves", "WAVE")
    material = bpy.data.materials.new("paint")
    item.data.materials.append(material)
    item.name = "my chair"
    before, matrices = _details(item), [one.matrix_world.copy() for one in collection.objects]
    assert len(before) > 1500
    replace_asset(collection, _edit(holes=holes))
    assert part(collection, "mesh") == item and item.name == "my chair"
    assert _details(item) == before
    assert [one.matrix_world for one in collection.objects] == matrices
    assert [one.name for one in item.modifiers] == ["Waves"] and material in item.data.materials[:]
    assert [one.name for one in item.vertex_groups] == ["Arm"]
    raised = [vertex for vertex in item.data.vertices if vertex.co.x > 0.05]
    assert raised and all(vertex.co.z == pytest.approx(0.2) for vertex in raised)
    assert all(vertex.groups[0].weight > 0 for vertex in raised)  # those of what was there: a rig moves them
    block = item.data.shape_keys.key_blocks["Smile"]
    assert block.value == 0.5 and len(block.data) == len(item.data.vertices)
    assert all(tuple(block.data[vertex.index].co) == tuple(vertex.co) for vertex in raised)


def test_editing_again_and_again():
    collection = _add(_first())
    for seed in range(2, 6):
        edit = _edit(seed=seed, base=seed - 1, bump=0.1 * seed, holes=seed % 2 == 0)
        assert fits(collection, edit) and not changed_by_hand(collection)
        replace_asset(collection, edit)
        _assert_is(part(collection, "mesh").data, edit.mesh)
    assert [step["seed"] for step in json.loads(collection["trellis_history"])] == [1, 2, 3, 4, 5]
    assert json.loads(part(collection, "mesh")["trellis_history"])[-1]["mode"] == "replace"
    np.testing.assert_array_equal(read_latents(collection).arrays["feats"], _latents(seed=5).arrays["feats"])
    assert read_pictures(collection) == (("own.png", PNG),)
    assert len(bpy.data.meshes) == 3  # mesh, splats and what the asset is made of: nothing is left over


def test_a_kept_vertex_that_the_scene_lacks_is_new_and_the_others_stay():
    """After an edit the scene's mesh joins two decodes; that of the next edit differs here and there."""
    collection = _add(_first())
    mesh = part(collection, "mesh").data
    for vertex in mesh.vertices:
        vertex.co.z += 0.1 * (vertex.co.x < -0.2)  # by hand
    before = _positions(mesh)
    edit = _edit()
    keys = edit.mesh["keys"]
    other = np.flatnonzero(edit.mesh["kept"])[0]
    keys[other] += 1  # a name that nobody has
    replace_asset(collection, edit)
    after = _positions(part(collection, "mesh").data)
    assert after.keys() == set(keys.tolist())
    for key, place, kept in zip(keys.tolist(), edit.mesh["vertices"], edit.mesh["kept"], strict=True):
        is_own = kept and key != keys[other]
        assert after[key] == (before[key] if is_own else tuple(place))


def test_a_look_leaves_even_the_shape_inside():
    collection = _add(_first())
    item = part(collection, "mesh")
    _sculpt(item)
    before = _positions(item.data)
    uv = [tuple(one.uv) for one in item.data.uv_layers["UVMap"].data]
    edit = _edit("look", bump=0.0)
    edit.mesh["colors"][edit.mesh["kept"] == 0] = (1, 0, 0)
    replace_asset(collection, edit)
    assert _positions(item.data) == before
    assert [tuple(one.uv) for one in item.data.uv_layers["UVMap"].data] == uv
    for vertex, color in zip(item.data.vertices, item.data.color_attributes["Color"].data, strict=True):
        assert (tuple(color.color) == (1, 0, 0, 1)) == (vertex.co.x > 0.05)


def test_a_look_on_changed_topology_has_its_colors():
    collection = _add(_first())
    item = part(collection, "mesh")
    _delete_some(item)
    edit = _edit("look", bump=0.0)
    edit.mesh["colors"][edit.mesh["kept"] == 0] = (1, 0, 0)
    replace_asset(collection, edit)
    _assert_is(item.data, edit.mesh)


def test_the_former_version_is_kept_hidden():
    first = _first()
    collection = _add(first)
    replace_asset(collection, _edit(), keep_former=True)
    (former,) = collection.children
    assert former.hide_viewport and former.hide_render
    assert former["trellis_asset"] != collection["trellis_asset"]
    old = dict(first.mesh, kept=np.ones(len(first.mesh["keys"]), np.uint8))
    _assert_is(part(former, "mesh").data, old)
    _assert_is(part(collection, "mesh").data, _edit().mesh)
    np.testing.assert_array_equal(read_latents(former).arrays["feats"], _latents(seed=1).arrays["feats"])
    np.testing.assert_array_equal(read_latents(collection).arrays["feats"], _latents(seed=2).arrays["feats"])
    assert asset_matrix(former) == asset_matrix(collection)
    replace_asset(collection, _edit(seed=3, base=2, bump=0.3), keep_former=True)
    assert len(collection.children) == 2


def test_new_vertices_follow_an_applied_scale():
    collection = _add(_first())
    item = part(collection, "mesh")
    for vertex in item.data.vertices:
        vertex.co *= 2
    replace_asset(collection, _edit(bump=0.2))
    for vertex in item.data.vertices:
        assert vertex.co.x < 0.1 or vertex.co.z == pytest.approx(0.4, abs=1e-4)
    assert max(vertex.co.x for vertex in item.data.vertices) == pytest.approx(0.8, abs=1e-4)
    assert len(item.data.vertices) == SIDE**2
    replace_asset(collection, _edit(seed=3, base=2, bump=0.1))
    assert max(vertex.co.z for vertex in item.data.vertices) == pytest.approx(0.2, abs=1e-4)


def _subdivide(item):
    with bpy.context.temp_override(active_object=item, object=item, selected_objects=[item]):
        modifier = item.modifiers.new("Subdivision", "SUBSURF")
        modifier.subdivision_type = "SIMPLE"
        bpy.ops.object.modifier_apply(modifier=modifier.name)


def _delete_some(item):
    import bmesh

    shape = bmesh.new()
    shape.from_mesh(item.data)
    bmesh.ops.delete(shape, geom=shape.verts[:5], context="VERTS")
    shape.to_mesh(item.data)
    shape.free()


def _remove_keys(item):
    item.data.attributes.remove(item.data.attributes["trellis_key"])


@pytest.mark.parametrize("change", [_subdivide, _delete_some, _remove_keys])
def test_changed_topology_is_said_before_and_gives_the_generated_mesh(change):
    collection = _add(_first())
    item = part(collection, "mesh")
    item.data.materials.append(bpy.data.materials.new("paint"))
    change(item)
    assert "chair" in changed_by_hand(collection)
    edit = _edit()
    replace_asset(collection, edit)
    _assert_is(item.data, edit.mesh)
    assert len(item.data.materials) == 2 and not changed_by_hand(collection)


def test_splats_that_were_cropped_joined_or_copied_stay_so():
    collection = _add(_first())
    item = part(collection, "gaussian")
    splats = splats_of(item)
    left = np.flatnonzero((splats.position[:, 0] > -0.3) | (splats.position[:, 1] > 0))
    foreign = splats.taken(np.arange(3)).moved(np.array(Matrix.Translation((9, 9, 9))))
    rows = np.concatenate([left, left[:5]])
    keys = vertex_keys(item.data)[rows]
    keep_splats(item, np.isin(np.arange(len(splats)), left))
    add_splats(item, joined([splats.taken(left[:5]), foreign]))
    for number, key in enumerate(keys):  # as Blender's own copies have them
        item.data.attributes[KEY].data[number].value = key
    assert not changed_by_hand(collection)
    edit = _edit()
    kept = int((splats.position[rows, 0] < 0.055).sum())  # the middle of the sheet is at 0.05 + 0.01
    replace_asset(collection, edit)
    places = np.array([vertex.co for vertex in part(collection, "gaussian").data.vertices])
    assert len(places) == kept + 3 + int((edit.gaussian["kept"] == 0).sum())
    assert not ((places[:, 0] < -0.3) & (places[:, 1] < 0)).any()
    assert (places > 8).all(axis=1).sum() == 3
    replace_asset(collection, _edit(seed=3, base=2))
    assert len(part(collection, "gaussian").data.vertices) == len(places)


def test_new_splats_follow_an_applied_scale():
    collection = _add(_first())
    item = part(collection, "gaussian")
    item.data.transform(Matrix.Scale(2, 4))
    assert moved_vertices.follow(item)
    edit = _edit()
    replace_asset(collection, edit)
    after = splats_of(part(collection, "gaussian"))
    assert np.abs(after.position).max() == pytest.approx(
        2 * np.abs(edit.gaussian["position"]).max(), rel=1e-3
    )
    new = after.position[:, 0] > 0.13
    np.testing.assert_allclose(after.scale[new], edit.gaussian["scale"][0, 0] + np.log(2), atol=1e-3)


def test_the_object_of_a_finished_mesh_stays_and_takes_the_new_one():
    collection = _add(dataclasses.replace(_first(), finished=_finished(0.0)))
    item = part(collection, "finished")
    item.modifiers.new("Waves", "WAVE")
    item.location, item.name = (1, 2, 3), "my chair"
    replace_asset(collection, dataclasses.replace(_edit(), finished=_finished(0.2)))
    assert part(collection, "finished") == item and item.name == "my chair"
    assert [one.name for one in item.modifiers] == ["Waves"] and tuple(item.location) == (1, 2, 3)
    assert max(vertex.co.z for vertex in item.data.vertices) == pytest.approx(0.2)
    assert not item.hide_viewport and part(collection, "mesh").hide_viewport
    box = add_box(collection, np.zeros(3), np.full(3, 0.2))
    replace_asset(collection, _edit(seed=3, base=2))
    raw = part(collection, "mesh")
    assert part(collection, "finished") is None and not raw.hide_viewport
    assert box.parent == raw and tuple(raw.location) == (1, 2, 3)
    replace_asset(collection, dataclasses.replace(_edit(seed=4, base=3), finished=_finished(0.1)))
    finished = part(collection, "finished")
    assert finished.parent == part(collection, "root") and tuple(finished.location) == (1, 2, 3)
    assert box.parent == finished and raw.hide_viewport


def test_a_finished_mesh_takes_the_scale_that_was_applied_to_the_one_before():
    collection = _add(_first())
    raw = part(collection, "mesh")
    raw.data.transform(Matrix.Scale(3, 4))
    replace_asset(collection, dataclasses.replace(_edit(), finished=_finished(0.2)))
    finished = part(collection, "finished")
    for _ in range(2):
        assert max(vertex.co.x for vertex in finished.data.vertices) == pytest.approx(1.2)
        np.testing.assert_allclose(asset_matrix(collection).to_scale(), 3 * raw.parent.scale.x, rtol=1e-5)
        replace_asset(collection, dataclasses.replace(_edit(seed=3, base=2), finished=_finished(0.1)))


def _finished(bump: float) -> dict[str, np.ndarray]:
    sheet = _sheet(bump)
    return {name: sheet[name] for name in ("vertices", "faces", "colors")}


def test_a_failing_replacement_leaves_the_asset(monkeypatch):
    collection = _add(_first())
    before = _positions(part(collection, "mesh").data)
    edit = _edit()
    broken = {**edit.gaussian, "opacity": edit.gaussian["opacity"][:3]}
    with pytest.raises((IndexError, ValueError)):
        replace_asset(collection, dataclasses.replace(edit, gaussian=broken))
    assert _positions(part(collection, "mesh").data) == before and len(bpy.data.meshes) == 3
    assert collection["trellis_seed"] == 1


def test_an_asset_that_is_edited_by_hand_is_in_use():
    collection = _add(_first())
    assert not in_use(collection)
    bpy.context.view_layer.objects.active = part(collection, "mesh")
    bpy.ops.object.mode_set(mode="EDIT")
    assert in_use(collection)
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_mesh_that_is_edited_through_a_linked_duplicate_is_in_use():
    collection = _add(_first())
    twin = part(collection, "mesh").copy()
    del twin["trellis_part"]
    bpy.context.scene.collection.objects.link(twin)
    bpy.context.view_layer.objects.active = twin
    bpy.ops.object.mode_set(mode="EDIT")
    assert in_use(collection)
    bpy.ops.object.mode_set(mode="OBJECT")
    assert not in_use(collection)


def test_the_former_version_is_shown_as_it_was():
    collection = _add(dataclasses.replace(_first(), finished=_finished(0.0)))
    before = part(collection, "finished").data
    twin = bpy.data.objects.new("Twin", before)
    replace_asset(collection, dataclasses.replace(_edit(), finished=_finished(0.2)), keep_former=True)
    (former,) = collection.children
    assert twin.data == part(collection, "finished").data != before
    assert part(former, "finished").data == before and not part(former, "finished").hide_viewport
    assert part(former, "mesh").hide_viewport
    assert max(vertex.co.z for vertex in part(collection, "finished").data.vertices) == pytest.approx(0.2)


def test_of_several_collections_with_one_id_the_oldest_is_edited():
    """A copied collection has the id of the original until it is asked for something."""
    first = _add(_first())
    copy = first.copy()
    earlier = bpy.data.collections.new("earlier")
    bpy.context.scene.collection.children.unlink(first)
    bpy.context.scene.collection.children.link(earlier)
    bpy.context.scene.collection.children.link(first)
    earlier.children.link(copy)
    assert copy["trellis_asset"] == first["trellis_asset"]
    assert find_asset(first["trellis_asset"]) == first


@pytest.mark.parametrize("kinds", [("mesh",), ("mesh", "gaussian", "root")])
def test_objects_that_were_moved_to_another_collection_are_still_the_asset(kinds):
    collection = _add(_first())
    furniture = bpy.data.collections.new("furniture")
    bpy.context.scene.collection.children.link(furniture)
    for item in [part(collection, kind) for kind in kinds]:
        furniture.objects.link(item)
        collection.objects.unlink(item)
    item = furniture.objects["chair"]
    assert asset_of_object(item) == collection and part(collection, "mesh") == item
    edit = _edit()
    assert fits(collection, edit)
    replace_asset(collection, edit)
    _assert_is(item.data, edit.mesh)
    assert json.loads(item["trellis_history"])[-1]["seed"] == 2


def test_an_edit_of_another_state_does_not_fit():
    collection = _add(_first())
    assert fits(collection, _edit()) and not fits(collection, _edit(base=7))


def test_linked_duplicates_change_along_and_one_undo_step_brings_all_back():
    collection = _add(_first())
    twin = part(collection, "mesh").copy()
    bpy.context.scene.collection.objects.link(twin)
    bpy.ops.ed.undo_push(message="placed")
    before = _positions(twin.data)
    replace_asset(collection, _edit())
    assert twin.data == part(collection, "mesh").data
    bpy.ops.ed.undo_push(message="edited")
    bpy.ops.ed.undo()
    collection = bpy.data.collections["chair"]
    assert _positions(part(collection, "mesh").data) == before
    np.testing.assert_array_equal(read_latents(collection).arrays["feats"], _latents(seed=1).arrays["feats"])
    bpy.ops.ed.redo()
    collection = bpy.data.collections["chair"]
    _assert_is(part(collection, "mesh").data, _edit().mesh)
    assert Vector(part(collection, "root").location) == Vector((0, 0, 0))
