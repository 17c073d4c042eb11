"""Arrays become datablocks that hold exactly those arrays."""

import bpy
import numpy as np
import pytest
from fake_backend import ball

from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import add_asset, show, shown, shown_objects, shown_with
from blender_trellis.scene.find_asset import ASSET, PART, world_matrix
from blender_trellis.scene.gaussians.nodes import GROUP_VERSION, IN_VIEWPORT, SIZE, set_input
from blender_trellis.scene.gaussians.object import is_gaussian
from blender_trellis.srgb import linear_from_srgb, srgb_from_linear

N = 50


def _gaussian() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    rotation = random.normal(size=(N, 4)).astype(np.float32)
    return {
        "position": random.uniform(-0.5, 0.5, (N, 3)).astype(np.float32),
        "f_dc": random.normal(size=(N, 3)).astype(np.float32),
        "opacity": random.normal(size=(N, 1)).astype(np.float32),
        "scale": random.uniform(-6, -4, (N, 3)).astype(np.float32),
        "rotation": rotation / np.linalg.norm(rotation, axis=1, keepdims=True),
    }


def _asset(**changes) -> Asset:
    vertices, faces, colors = ball()
    mesh = {"vertices": vertices, "faces": faces, "colors": colors}
    properties = {"seed": 7, "parameters": "{}", "model": "starter", "version": "0.1.0"}
    return Asset(
        **({"name": "crate", "mesh": mesh, "gaussian": _gaussian(), "properties": properties} | changes)
    )


def _add(asset: Asset) -> bpy.types.Collection:
    return add_asset(asset, bpy.context.scene, bpy.context.view_layer)


def _read(attribute, key: str, width: int = 1) -> np.ndarray:
    values = np.empty(len(attribute.data) * width, np.float32)
    attribute.data.foreach_get(key, values)
    return values.reshape(-1, width)


def test_mesh_has_the_vertices_faces_and_linear_colors():
    asset = _asset()
    mesh = _add(asset).objects["crate"].data
    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", places)
    np.testing.assert_array_equal(places.reshape(-1, 3), asset.mesh["vertices"])
    assert [tuple(face.vertices) for face in mesh.polygons] == [tuple(face) for face in asset.mesh["faces"]]
    color = mesh.color_attributes["Color"]
    assert (color.data_type, color.domain) == ("FLOAT_COLOR", "POINT")
    expected = linear_from_srgb(asset.mesh["colors"])
    np.testing.assert_allclose(_read(color, "color", 4)[:, :3], expected, atol=1e-6)
    assert mesh.color_attributes.active_color.name == "Color"
    assert not any(face.use_smooth is False for face in mesh.polygons)


def test_srgb_is_undone_as_blender_does_it():
    from mathutils import Color

    for value in (0.0, 0.03, 0.04045, 0.2, 0.5, 1.0):
        expected = Color((value, value, value)).from_srgb_to_scene_linear().r
        assert linear_from_srgb(np.array(value)) == pytest.approx(expected, abs=2e-4)


def test_vertex_colors_reach_the_base_color():
    material = _add(_asset()).objects["crate"].active_material
    principled = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    source = principled.inputs["Base Color"].links[0].from_node
    assert (source.type, source.layer_name) == ("VERTEX_COLOR", "Color")


def test_gaussians_carry_the_known_attribute_names_and_values():
    asset = _asset()
    points = _add(asset).objects["crate Gaussians"].data
    columns = {"opacity": asset.gaussian["opacity"][:, 0]}
    columns |= {f"f_dc_{i}": asset.gaussian["f_dc"][:, i] for i in range(3)}
    columns |= {f"scale_{i}": asset.gaussian["scale"][:, i] for i in range(3)}
    columns |= {f"rot_{i}": asset.gaussian["rotation"][:, i] for i in range(4)}
    for name, expected in columns.items():
        attribute = points.attributes[name]
        assert (attribute.data_type, attribute.domain) == ("FLOAT", "POINT")
        np.testing.assert_array_equal(_read(attribute, "value")[:, 0], expected)
    places = np.empty(3 * N, np.float32)
    points.vertices.foreach_get("co", places)
    np.testing.assert_array_equal(places.reshape(-1, 3), asset.gaussian["position"])


def test_the_result_is_one_selected_collection_with_one_parent():
    collection = _add(_asset())
    assert collection.name == "crate"
    assert {item.name for item in bpy.context.selected_objects} == {"crate", "crate Root"}  # the splats hide
    assert bpy.context.view_layer.objects.active.name == "crate"
    root = collection.objects["crate Root"]
    for item in collection.objects:
        assert tuple(item.rotation_euler) == (0, 0, 0) and tuple(item.scale) == (1, 1, 1)
        assert item == root or (item.parent == root and tuple(item.location) == (0, 0, 0))


def test_provenance_lies_on_collection_and_objects():
    collection = _add(_asset(properties={"seed": 2**40, "model_hash": "ab", "parameters": '{"steps": 4}'}))
    for owner in (collection, *collection.objects):
        assert owner["trellis_model_hash"] == "ab"
        assert owner["trellis_parameters"] == '{"steps": 4}'
        assert int(owner["trellis_seed"]) == 2**40


def _evaluated(item: bpy.types.Object) -> bpy.types.Mesh:
    bpy.context.view_layer.update()
    return item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data


def test_splats_are_shown_on_demand_in_place_of_the_mesh():
    collection = _add(_asset())
    mesh, splats = collection.objects["crate"], collection.objects["crate Gaussians"]
    visible = {"mesh": (True, False), "gaussian": (False, True), "both": (True, True)}
    assert shown(collection) == "mesh"
    for kind, expected in visible.items():
        show(collection, kind)
        assert shown(collection) == kind
        assert (mesh.visible_get(), splats.visible_get()) == expected
        assert (not mesh.hide_render, not splats.hide_render) == expected


def test_what_else_lies_in_the_collection_is_neither_shown_nor_hidden():
    collection = _add(_asset())
    own, cutter = (bpy.data.objects.new(name, bpy.data.meshes.new(name)) for name in ("Own", "Cutter"))
    cutter.hide_viewport = cutter.hide_render = True
    for item in (own, cutter):
        collection.objects.link(item)
    for kind in ("gaussian", "both", "mesh"):
        show(collection, kind)
        assert shown(collection) == kind
        assert not own.hide_viewport and not own.hide_render
        assert cutter.hide_viewport and cutter.hide_render


def _ungrouped(name: str, **changes) -> dict[str, bpy.types.Object]:
    """The objects of an asset whose collection was deleted in the Outliner, which moves them up."""
    collection = _add(_asset(name=name, **changes))
    parts = {item[PART]: item for item in collection.objects}
    for item in parts.values():
        bpy.context.scene.collection.objects.link(item)
    bpy.data.collections.remove(collection)
    bpy.context.view_layer.update()
    return parts


def test_without_its_collection_an_asset_is_shown_alone(addon):
    first, own = _ungrouped("crate"), bpy.data.objects.new("Own", None)
    second = _ungrouped("drum", finished=_asset().mesh)
    copy = {kind: item.copy() for kind, item in second.items()}
    for item in copy.values():
        bpy.context.scene.collection.objects.link(item)
        item.parent = copy["root"] if item.parent is not None else None
    bpy.context.scene.collection.objects.link(own)
    second["finished"].location.x += 9.0
    bpy.context.view_layer.update()
    others = [*first.values(), *copy.values()]
    before = [(item.hide_viewport, item.hide_render, world_matrix(item)) for item in others]
    for kind, is_hidden in (("gaussian", (True, True, False)), ("mesh", (True, False, True))):
        bpy.context.view_layer.objects.active = second["finished"]
        assert bpy.ops.trellis.show(kind=kind) == {"FINISHED"}
        bpy.context.view_layer.update()
        assert tuple(second[one].hide_viewport for one in ("mesh", "finished", "gaussian")) == is_hidden
        assert shown_objects(shown_with(second["mesh"])) == kind
        assert [(item.hide_viewport, item.hide_render, world_matrix(item)) for item in others] == before
        assert world_matrix(second["gaussian"]) == world_matrix(second["finished"])
    assert not shown_with(own)


def test_what_lies_in_one_collection_with_several_assets_is_shown_alone(addon):
    """Copies that were moved there, and splats of no asset."""
    props = bpy.data.collections.new("Props")
    bpy.context.scene.collection.children.link(props)
    first, second = _add(_asset()), _add(_asset(name="drum"))
    for item in (*first.objects, *second.objects):
        props.objects.link(item)
    lone = second.objects["drum Gaussians"].copy()
    for key in (PART, ASSET):
        del lone[key]
    props.objects.link(lone)
    bpy.context.view_layer.objects.active = second.objects["drum"]
    bpy.ops.trellis.show(kind="both")
    assert (shown(first), shown(second)) == ("mesh", "both") and lone.hide_viewport
    lone.hide_viewport = False
    bpy.context.view_layer.objects.active = lone
    bpy.ops.trellis.show(kind="mesh")
    assert lone.hide_viewport and shown(second) == "both"


def test_nothing_is_shown_or_hidden_while_the_mesh_is_edited(addon):
    collection = _add(_asset())
    mesh = collection.objects["crate"]
    bpy.context.view_layer.objects.active = mesh
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.ops.trellis.show.poll()
    bpy.context.view_layer.objects.active = collection.objects["crate Gaussians"]
    assert not bpy.ops.trellis.show.poll()  # its mesh is still in edit mode
    bpy.context.view_layer.objects.active = mesh
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.trellis.show.poll()


def test_each_splat_has_a_hull_and_haze_is_left_out_of_solid_ellipsoids():
    gaussian = _gaussian()
    gaussian["opacity"][:] = 2.0
    gaussian["opacity"][:10] = -4.0  # haze
    gaussian["opacity"][:3] = -8.0  # not to be seen at all
    item = _add(_asset(mesh=None, gaussian=gaussian)).objects["crate Gaussians"]
    assert len(_evaluated(item).vertices) == 6 * (N - 10)
    set_input(item.modifiers["Splats"], IN_VIEWPORT, True)
    item.update_tag()
    assert len(_evaluated(item).vertices) == 6 * (N - 3)


def test_ellipsoids_lie_where_the_splats_are_in_their_colors():
    from mathutils import Quaternion

    gaussian = _gaussian()
    gaussian["opacity"][:] = 2.0
    item = _add(_asset(mesh=None, gaussian=gaussian)).objects["crate Gaussians"]
    set_input(item.modifiers["Splats"], SIZE, 2.0)
    item.update_tag()
    mesh = _evaluated(item)
    corners = _read(mesh.attributes["position"], "vector", 3).reshape(N, 6, 3)
    np.testing.assert_allclose(corners.mean(axis=1), gaussian["position"], atol=1e-5)
    for splat in range(5):
        turn = np.array(Quaternion(gaussian["rotation"][splat]).to_matrix())
        local = (corners[splat] - gaussian["position"][splat]) @ turn / np.exp(gaussian["scale"][splat])
        np.testing.assert_allclose(np.linalg.norm(local, axis=1), 2.0, rtol=1e-3)
    expected = linear_from_srgb(0.5 + 0.28209479 * gaussian["f_dc"])
    assert mesh.color_attributes.active_color_name == "Color"  # by which Solid view colours
    expected = np.repeat(expected[:, None], 6, axis=1)
    shown = _read(mesh.attributes["splat_color"], "vector", 3).reshape(N, 6, 3)  # which the material shows
    np.testing.assert_allclose(shown, expected, atol=1e-5)
    colors = _read(mesh.color_attributes["Color"], "color", 4)[:, :3].reshape(N, 6, 3)  # in bytes of sRGB
    np.testing.assert_allclose(srgb_from_linear(colors), srgb_from_linear(expected), atol=0.51 / 255)


def test_two_results_share_one_node_group():
    first, second = _add(_asset()), _add(_asset())
    groups = {c.objects[1].modifiers["Splats"].node_group.name for c in (first, second)}
    assert len(groups) == 1 and len(bpy.data.node_groups) == 1


def test_a_fault_leaves_nothing_behind():
    gaussian = _gaussian()
    gaussian["scale"] = gaussian["scale"][:-1]
    with pytest.raises((ValueError, RuntimeError, TypeError)):
        _add(_asset(gaussian=gaussian))
    assert not bpy.data.objects and not bpy.data.meshes and not bpy.data.materials
    assert not bpy.data.collections


def test_somebody_who_edits_is_left_alone():
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    _add(_asset())
    assert bpy.context.view_layer.objects.active.name == "Cube"
    assert bpy.context.view_layer.objects.active.mode == "EDIT"
    assert "crate" in bpy.data.objects


def test_names_that_are_no_text():
    assert _add(_asset(name="cr\udcffate")).name == "cr?ate"
    assert len(_add(_asset(name="x" * 300)).name) >= 63


def test_nodes_of_a_newer_version_or_another_hand_are_left_alone():
    item = _add(_asset(mesh=None)).objects["crate Gaussians"]
    modifier = item.modifiers["Splats"]
    assert is_gaussian(item)
    for held in (GROUP_VERSION + 1, (GROUP_VERSION + 1, 0), 0, "x"):
        modifier.node_group["trellis_splats"] = held
        assert not is_gaussian(item)
    modifier.node_group = None
    assert not is_gaussian(item)
    assert is_gaussian(_add(_asset(mesh=None)).objects[0])  # with a group of its own
