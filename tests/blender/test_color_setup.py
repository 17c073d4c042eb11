"""Which scenes are set up to show results in their own colours, and which are left as they are."""

import bpy
import numpy as np
import pytest
from fake_backend import YELLOW, ball
from splat_reference import cloud

from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import add_asset
from blender_trellis.scene.display.colors import (
    SET_UP,
    choose_colors,
    colors_in_use,
    set_up_colors,
    suited_colors,
)
from blender_trellis.scene.display.shading import renew_solid_colors, show_in_solid, suit_preview_light
from blender_trellis.scene.gaussians.edit import import_splats
from blender_trellis.scene.replace import finish


def _asset(textured: bool = False) -> Asset:
    vertices, faces, _ = ball(6)
    colors = np.tile(np.float32(YELLOW) / 255, (len(vertices), 1))
    mesh = {"vertices": vertices, "faces": faces, "colors": colors}
    if not textured:
        return Asset("ball", mesh=mesh)
    texture = np.tile(np.uint8(YELLOW), (8, 8, 1))
    uv = np.full((len(faces), 3, 2), 0.5, np.float32)
    return Asset("ball", mesh=mesh, finished=mesh | {"uv": uv, "texture": texture})


def _add(asset: Asset) -> bpy.types.Collection:
    return add_asset(asset, bpy.context.scene, bpy.context.view_layer)


def _splats(name: str = "cloud") -> bpy.types.Object:
    return import_splats(name, cloud(20), "Z", bpy.context)


def _transform() -> str:
    return bpy.context.scene.view_settings.view_transform


@pytest.fixture
def new_file():
    """What Blender opens with: cube, light and camera."""
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    return bpy.context.scene


def test_a_new_file_is_set_up_once_and_one_undo_brings_it_back(new_file):
    bpy.ops.ed.undo_push(message="new")
    _add(_asset())
    assert "Standard" in set_up_colors(bpy.context.scene) and _transform() == "Standard"
    bpy.ops.ed.undo_push(message="placed")
    bpy.ops.ed.undo()
    assert _transform() == "AgX" and SET_UP not in bpy.context.scene and "ball" not in bpy.data.collections
    bpy.ops.ed.redo()
    assert _transform() == "Standard" and "ball" in bpy.data.collections
    bpy.context.scene.view_settings.view_transform = "AgX"  # the artist's own choice
    _add(_asset())
    assert not set_up_colors(bpy.context.scene) and _transform() == "AgX"


def test_an_empty_file_and_one_of_our_own_assets_are_set_up():
    _add(_asset())
    _add(_asset(textured=True))
    assert set_up_colors(bpy.context.scene) and _transform() == "Standard"


def _expose(scene: bpy.types.Scene) -> None:
    scene.view_settings.exposure = 0.5


def _look(scene: bpy.types.Scene) -> None:
    scene.view_settings.look = "AgX - Punchy"


def _filmic(scene: bpy.types.Scene) -> None:
    scene.view_settings.view_transform = "Filmic"


def _curves(scene: bpy.types.Scene) -> None:
    scene.view_settings.use_curve_mapping = True


def _mesh(scene: bpy.types.Scene) -> None:
    bpy.ops.mesh.primitive_monkey_add()


def _used_cube(scene: bpy.types.Scene) -> None:
    bpy.data.objects["Cube"].scale = (5, 5, 0.1)


def _sun(scene: bpy.types.Scene) -> None:
    bpy.ops.object.light_add(type="SUN")


def _brighter(scene: bpy.types.Scene) -> None:
    bpy.data.lights["Light"].energy = 4000


def _instance(scene: bpy.types.Scene) -> None:
    bpy.ops.object.collection_instance_add(name=bpy.data.collections.new("kit").name)


def _environment(scene: bpy.types.Scene) -> None:
    scene.world.node_tree.nodes.new("ShaderNodeTexEnvironment")


OWN = (_expose, _look, _filmic, _curves, _mesh, _used_cube, _sun, _brighter, _instance, _environment)


@pytest.mark.parametrize("own", OWN)
def test_a_scene_of_an_artist_stays_as_it_is(new_file, own):
    own(new_file)
    before = _transform()
    _add(_asset(textured=True))
    assert set_up_colors(new_file) == "" and _transform() == before and SET_UP not in new_file


def test_what_is_neither_seen_nor_a_light_is_in_nobodys_way(new_file):
    for item in (None, bpy.data.armatures.new("bones"), bpy.data.cameras.new("second")):
        new_file.collection.objects.link(bpy.data.objects.new("own", item))
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.object.hide_render = True
    _add(_asset())
    assert set_up_colors(new_file)


def test_splats_alone_are_shown_as_viewers_show_them_until_a_lit_asset_comes(new_file):
    first = _splats()
    assert "Raw" in set_up_colors(new_file) and colors_in_use(new_file, first) == "VIEWERS"
    second = _splats("second")
    assert not colors_in_use(new_file, second)
    assert set_up_colors(new_file) == "" and colors_in_use(new_file, second) == "VIEWERS"
    _add(_asset())
    assert "Standard" in set_up_colors(new_file)
    assert colors_in_use(new_file, first) == colors_in_use(new_file, second) == "STANDARD"
    assert set_up_colors(new_file) == ""


def test_what_is_rendered_by_instances_counts_and_what_is_excluded_does_not(new_file):
    _splats()
    kit, parts = bpy.data.collections.new("kit"), bpy.data.collections.new("parts")
    kit.children.link(parts)
    parts.objects.link(bpy.data.objects.new("lit", bpy.data.meshes.new("lit")))
    assert suited_colors(new_file) == "VIEWERS"
    bpy.ops.object.collection_instance_add(name="kit")
    assert suited_colors(new_file) == "STANDARD"
    bpy.data.objects.remove(bpy.context.object)
    new_file.collection.children.link(kit)
    assert suited_colors(new_file) == "STANDARD"
    bpy.context.view_layer.layer_collection.children["kit"].exclude = True
    assert suited_colors(new_file) == "VIEWERS"
    bpy.context.view_layer.layer_collection.children["kit"].exclude = False
    parts.hide_render = True
    assert suited_colors(new_file) == "VIEWERS"


def test_what_an_artist_chose_for_splats_stays_when_a_lit_asset_comes(new_file):
    first = _splats()
    choose_colors(new_file, "VIEWERS")
    _add(_asset())
    second = _splats("second")
    assert set_up_colors(new_file) == ""
    assert colors_in_use(new_file, first) == colors_in_use(new_file, second) == "VIEWERS"


def test_splats_beside_the_artists_own_are_left_alone(new_file):
    bpy.ops.mesh.primitive_monkey_add()
    _splats()
    assert set_up_colors(new_file) == "" and _transform() == "AgX"


def test_the_button_sets_up_whatever_was_chosen_before(addon, new_file):
    _mesh(new_file)
    view = new_file.view_settings
    view.look, view.exposure, view.gamma, view.use_curve_mapping = "AgX - Punchy", 1.0, 1.2, True
    assert bpy.ops.trellis.true_colors() == {"FINISHED"}
    assert (view.view_transform, view.look, view.exposure, view.gamma) == ("Standard", "None", 0.0, 1.0)
    assert not view.use_curve_mapping
    view.view_transform = "AgX"
    bpy.data.objects.remove(bpy.context.object)
    _add(_asset())
    assert set_up_colors(new_file) == ""  # the scene is the artist's since


def _views() -> list[bpy.types.SpaceView3D]:
    spaces = (space for screen in bpy.data.screens for area in screen.areas for space in area.spaces)
    return [space for space in spaces if space.type == "VIEW_3D"]


def test_only_the_light_that_material_preview_begins_with_is_weakened(new_file):
    ours, stronger, other = _views()[:3]
    stronger.shading.studiolight_intensity = 1.5
    other.shading.type = "MATERIAL"
    other.shading.studio_light = "city.exr"
    kinds = [view.shading.type for view in _views()]
    is_needed = bpy.app.version >= (5, 0)
    assert suit_preview_light() == is_needed
    assert [view.shading.type for view in _views()] == kinds
    assert ours.shading.studiolight_intensity == (0.75 if is_needed else 1.0)
    assert stronger.shading.studiolight_intensity == 1.5 and other.shading.studiolight_intensity == 1.0
    assert other.shading.studio_light == "city.exr"
    assert not suit_preview_light()


def test_solid_views_show_textures_where_all_have_one_and_else_colours_of_vertices(new_file):
    screen, layer = bpy.data.screens["Layout"], bpy.context.view_layer
    view = next(area.spaces.active for area in screen.areas if area.type == "VIEW_3D")
    assert view.shading.color_type == "MATERIAL"
    collection = _add(_asset())
    renew_solid_colors()
    assert view.shading.color_type == "MATERIAL"  # which nobody asked to change
    show_in_solid(screen, layer)
    assert view.shading.color_type == "VERTEX"
    finish(collection, _asset(textured=True))
    renew_solid_colors()
    assert view.shading.color_type == "TEXTURE"
    splats = _splats()
    show_in_solid(screen, layer)
    assert view.shading.color_type == "VERTEX"  # splats have no texture
    splats.hide_viewport = True
    renew_solid_colors()
    assert view.shading.color_type == "TEXTURE"
    view.shading.color_type = "SINGLE"  # the artist's
    renew_solid_colors()
    assert view.shading.color_type == "SINGLE"


def test_a_solid_view_that_an_artist_set_to_vertices_stays_when_something_is_finished(new_file):
    screen = bpy.data.screens["Layout"]
    view = next(area.spaces.active for area in screen.areas if area.type == "VIEW_3D")
    view.shading.color_type = "VERTEX"
    collection = _add(_asset())
    show_in_solid(screen, bpy.context.view_layer)
    finish(collection, _asset(textured=True))
    renew_solid_colors()
    assert view.shading.color_type == "VERTEX"
