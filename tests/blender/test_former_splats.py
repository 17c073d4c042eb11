"""Gaussians in files of former versions: recognised, brought up to this one, nothing else changed."""

import bpy
import numpy as np
import pytest
from former_splats import VERSIONS, former_object

from blender_trellis.scene.gaussians import renewal
from blender_trellis.scene.gaussians.nodes import (
    ENCODED,
    FACING,
    GROUP_VERSION,
    IN_VIEWPORT,
    SIZE,
    WIDENING,
    get_input,
    set_input,
    version_of,
)
from blender_trellis.scene.gaussians.object import is_gaussian, splat_object, splats_of
from blender_trellis.splats.values import Splats
from blender_trellis.srgb import linear_from_srgb

N = 40
pytestmark = pytest.mark.skipif(
    bpy.app.version >= (5, 0), reason="groups are made by the places of sockets, which Blender 5.0 moved"
)


@pytest.fixture(autouse=True)
def _former_version(addon):
    """Until a file is opened nothing is renewed, as in former versions, which made these objects."""
    renewal.end()
    yield
    if renewal._look not in bpy.app.handlers.load_post:
        renewal.begin()


def _splats(version: str) -> Splats:
    random = np.random.default_rng(4)
    values = {
        "position": random.uniform(-1, 1, (N, 3)),
        "f_dc": random.normal(size=(N, 3)),
        "opacity": random.normal(size=(N, 1)) + 1,
        "scale": random.uniform(-3.0, -1.5, (N, 3)),
        "rotation": random.normal(size=(N, 4)),
        "f_rest": random.normal(size=(N, 3, 0 if version == "1" else 3)) * 0.3,
    }
    return Splats(**{name: value.astype(np.float32) for name, value in values.items()})


def _reopened(tmp_path) -> bpy.types.Object:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "former.blend"))
    renewal.begin()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "former.blend"))
    return bpy.data.objects["scan"]


def _version(item: bpy.types.Object) -> int:
    return version_of(item.modifiers["Splats"].node_group)


def _picture(item: bpy.types.Object, folder) -> np.ndarray:
    """(h, w, 4), what a render of the object alone shows."""
    scene = bpy.context.scene
    for other in scene.objects:
        other.hide_render = other != item
    if scene.camera is None:
        camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
        camera.location, camera.rotation_euler = (0, -6, 0), (np.pi / 2, 0, 0)
        scene.collection.objects.link(camera)
        scene.camera = camera
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", 4, 3
    scene.cycles.use_denoising, scene.cycles.transparent_max_bounces = False, 256
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Raw"
    scene.render.resolution_x = scene.render.resolution_y = 24
    scene.render.filepath = str(folder / "shot.png")
    scene.render.image_settings.file_format = "PNG"
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(folder / "shot.png"), check_existing=False)
    pixels = np.empty(24 * 24 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(24, 24, 4)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_opened_file_is_drawn_as_new_ones_are(addon, tmp_path, version):
    former_object(version, _splats(version))
    item = _reopened(tmp_path)
    assert is_gaussian(item) and _version(item) == GROUP_VERSION
    modifier = item.modifiers["Splats"]
    assert [get_input(modifier, name) for name in (IN_VIEWPORT, ENCODED, FACING)] == [False, False, True]
    assert get_input(modifier, SIZE) == pytest.approx(1.8) and get_input(modifier, WIDENING) == pytest.approx(
        0.1
    )
    fresh = splat_object("fresh", _splats(version), [])
    bpy.context.scene.collection.objects.link(fresh)
    found, expected = _picture(item, tmp_path), _picture(fresh, tmp_path)
    assert expected[..., 3].mean() > 0.1
    np.testing.assert_allclose(found, expected, atol=2 / 255)


@pytest.mark.parametrize("version", VERSIONS[:-1])  # the last differs in Solid view alone
def test_what_was_recorded_is_told_from_what_is_drawn_now(tmp_path, version):
    """Without the add-on's handlers the file stays as it was, and looks otherwise: in order or in shape."""
    item = former_object(version, _splats(version))
    assert is_gaussian(item) and _version(item) == int(version[0])
    fresh = splat_object("fresh", _splats(version), [])
    bpy.context.scene.collection.objects.link(fresh)
    assert np.abs(_picture(item, tmp_path) - _picture(fresh, tmp_path)).max() > 10 / 255


@pytest.mark.parametrize("version", VERSIONS)
def test_operators_work_on_it(addon, tmp_path, version):
    splats = _splats(version)
    former_object(version, splats)
    item = _reopened(tmp_path)
    box = bpy.data.objects.new("Box", None)
    bpy.context.scene.collection.objects.link(box)
    box.empty_display_size = 0.5
    for other in bpy.context.selected_objects:
        other.select_set(False)
    item.select_set(True)
    box.select_set(True)
    bpy.context.view_layer.objects.active = box
    bpy.context.view_layer.update()
    assert bpy.ops.trellis.crop_splats() == {"FINISHED"}
    inside = (np.abs(splats.position) <= 0.5).all(axis=1)
    assert 0 < inside.sum() < N
    np.testing.assert_array_equal(splats_of(item).position, splats.position[inside])
    assert bpy.ops.trellis.export_splats(filepath=str(tmp_path / "out.ply")) == {"FINISHED"}
    assert bpy.ops.trellis.true_colors() == {"FINISHED"}
    assert get_input(item.modifiers["Splats"], ENCODED) and _version(item) == GROUP_VERSION


def test_settings_animation_and_changes_of_the_material_stay(addon, tmp_path):
    item = former_object("2b", _splats("2b"))
    modifier = item.modifiers["Splats"]
    item.modifiers.new("Displace", "DISPLACE")
    for name, value in ((IN_VIEWPORT, True), (SIZE, 0.9), (ENCODED, True)):
        set_input(modifier, name, value)
    tree = item.data.materials[0].node_tree
    emission = next(node for node in tree.nodes if node.type == "EMISSION")
    emission.inputs["Strength"].default_value = 0.25
    hue = tree.nodes.new("ShaderNodeHueSaturation")
    tree.links.new(emission.inputs["Color"].links[0].from_socket, hue.inputs["Color"])
    tree.links.new(hue.outputs["Color"], emission.inputs["Color"])
    item = _reopened(tmp_path)
    modifier, tree = item.modifiers["Splats"], item.data.materials[0].node_tree
    assert [one.name for one in item.modifiers] == ["Splats", "Displace"] and _version(item) == GROUP_VERSION
    assert get_input(modifier, IN_VIEWPORT) and get_input(modifier, ENCODED)
    assert get_input(modifier, SIZE) == pytest.approx(0.9)
    assert get_input(modifier, "Material") == item.data.materials[0]
    emission = next(node for node in tree.nodes if node.type == "EMISSION")
    assert emission.inputs["Strength"].default_value == 0.25
    assert emission.inputs["Color"].links[0].from_node.type == "HUE_SAT"


def test_solid_view_has_linear_colors_where_renders_mix_those_of_displays(addon, tmp_path):
    item = former_object("5", _splats("5"))
    set_input(item.modifiers["Splats"], ENCODED, True)
    item = _reopened(tmp_path)
    mesh = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    solid = np.array([one.color[:3] for one in mesh.attributes["Color"].data])
    shown = np.array([one.vector for one in mesh.attributes["splat_color"].data])
    assert np.ptp(shown) > 0.5
    np.testing.assert_allclose(solid, linear_from_srgb(shown), atol=0.01)
    names = {getattr(node, "attribute_name", "") for node in item.data.materials[0].node_tree.nodes}
    assert "splat_color" in names and "Color" not in names


@pytest.mark.parametrize("what", ["nodes", "material"])
def test_nodes_of_an_artist_stay_and_can_be_edited(addon, tmp_path, what):
    item = former_object("2a", _splats("2a"))
    if what == "nodes":
        item.modifiers["Splats"].node_group.nodes.new("NodeFrame")
    else:
        item.data.materials[0].node_tree.nodes.clear()
    before = [len(item.modifiers["Splats"].node_group.nodes), len(item.data.materials[0].node_tree.nodes)]
    item = _reopened(tmp_path)
    after = [len(item.modifiers["Splats"].node_group.nodes), len(item.data.materials[0].node_tree.nodes)]
    assert after == before and _version(item) == 2 and is_gaussian(item)
    item.select_set(True)
    bpy.context.view_layer.objects.active = item
    assert bpy.ops.trellis.export_splats(filepath=str(tmp_path / "out.ply")) == {"FINISHED"}
    assert bpy.ops.trellis.true_colors() == {"FINISHED"}


def test_what_is_appended_is_renewed_and_what_is_linked_is_not(addon, tmp_path):
    former_object("3", _splats("3"))
    path = str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    renewal.begin()
    for link in (False, True):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        with bpy.data.libraries.load(path, link=link) as (_, into):
            into.objects = ["scan"]
        item = into.objects[0]
        bpy.context.scene.collection.objects.link(item)
        bpy.context.view_layer.update()
        assert is_gaussian(item) and _version(item) == (3 if link else GROUP_VERSION)


def test_undo_to_before_it_came_and_back(addon, tmp_path):
    former_object("2b", _splats("2b"))
    item = _reopened(tmp_path)
    bpy.ops.ed.undo_push(message="Opened")
    item.location.x = 3
    bpy.ops.ed.undo_push(message="Moved")
    bpy.ops.ed.undo()
    item = bpy.data.objects["scan"]
    assert item.location.x == 0 and _version(item) == GROUP_VERSION
    bpy.ops.ed.redo()
    item = bpy.data.objects["scan"]
    assert item.location.x == 3 and _version(item) == GROUP_VERSION
    path = str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    assert [_version(one) for one in bpy.data.objects if is_gaussian(one)] == [GROUP_VERSION]
    assert [tree["trellis_splats"][0] for tree in bpy.data.node_groups] == [
        GROUP_VERSION
    ]  # none is left over


def test_objects_that_share_mesh_and_material_are_all_renewed(addon, tmp_path):
    item = former_object("2b", _splats("2b"))
    bpy.context.scene.collection.objects.link(item.copy())
    _reopened(tmp_path)
    assert [_version(one) for one in bpy.data.objects] == [GROUP_VERSION] * 2
    assert not any(renewal.renew(one) for one in bpy.data.objects)
