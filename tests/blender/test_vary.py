"""Variants of assets and of any mesh, by the buttons, with a backend that only pretends."""

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Vector

from blender_trellis.jobs import session
from blender_trellis.scene.find_asset import ASSET, asset_matrix, part, world_matrix
from blender_trellis.scene.latents import read_latents, read_pictures
from blender_trellis.ui.vary import panel, reasons
from blender_trellis.ui.vary.request import selected
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def varied(addon):
    """The settings of variants, guided by another picture."""
    settings = bpy.context.scene.trellis.vary
    settings.guide, settings.image = "PICTURE", bpy.data.images.new("red.png", 4, 4)
    return settings


@pytest.fixture
def asset(addon, picture) -> bpy.types.Collection:
    bpy.context.scene.trellis.picture = str(picture())
    bpy.ops.trellis.generate()
    done()
    return bpy.data.collections["crate"]


def done() -> None:
    assert session.pump_until_done(PATIENCE)
    assert not session.status().fault
    bpy.context.view_layer.update()


def box(location=(10, 5, 1), size=(1, 2, 4), name="Box") -> bpy.types.Object:
    """A selected box; `size` is its scale, its mesh 2 units wide."""
    bpy.ops.mesh.primitive_cube_add(size=2, location=location)
    item = bpy.context.object
    item.name, item.scale = name, size
    bpy.context.view_layer.update()
    return item


def bounds(item: bpy.types.Object) -> np.ndarray:
    matrix = world_matrix(item)  # Blender does not evaluate that of a hidden object
    corners = np.array([matrix @ vertex.co for vertex in item.data.vertices])
    return np.array([corners.min(axis=0), corners.max(axis=0)])


def variants() -> list[bpy.types.Collection]:
    return [one for one in bpy.data.collections if "Variant" in one.name and ASSET in one]


def set_model(monkeypatch, **without_effect: str) -> None:
    """What the fake's model heeds, as if its backend had told so."""
    from dataclasses import replace

    told = tuple(replace(one, without_effect=without_effect) for one in session.known_models())
    monkeypatch.setattr(session.state.current(), "told", told)


def test_variants_of_an_asset_stand_beside_it_each_its_own(asset, varied, monkeypatch):
    set_model(monkeypatch)
    varied.count, varied.seed, varied.strength = 3, 20, 0.5
    assert bpy.ops.trellis.vary() == {"FINISHED"}
    done()
    made = variants()
    assert [one["trellis_seed"] for one in made] == [20, 21, 22]
    assert len({one[ASSET] for one in (asset, *made)}) == 4
    boxes = [bounds(part(one, "mesh")) for one in (asset, *made)]
    for one, other in zip(boxes, boxes[1:], strict=False):
        assert other[0, 0] > one[1, 0]  # clear of each other, in a row
        assert np.allclose((other - one)[:, 1:], 0, atol=1e-5)  # at one height and depth
    assert '"strength": 0.5' in made[0]["trellis_parameters"]
    assert '"mode": "vary"' in made[0]["trellis_history"]
    assert read_pictures(made[0])[0][0] == "red.png" and read_latents(made[0]).resolution == 64


def test_variants_stand_beside_what_was_moved_by_its_mesh(asset, varied, monkeypatch):
    """The raw mesh and the Gaussians, which are hidden, stay behind."""
    set_model(monkeypatch)
    varied.count = 2
    finished = part(asset, "finished")
    finished.location.x += 10.0
    bpy.context.view_layer.update()
    bpy.ops.trellis.vary()
    done()
    boxes = [bounds(one) for one in (finished, *(part(made, "finished") for made in variants()))]
    for one, other in zip(boxes, boxes[1:], strict=False):
        assert 0 < other[0, 0] - one[1, 0] < 1.0


def test_variants_stand_beside_those_that_are_still_being_made(asset, varied):
    for _ in range(2):
        bpy.ops.trellis.vary()
    done()
    boxes = [bounds(part(one, "mesh")) for one in (asset, *variants())]
    assert len(boxes) == 3
    for one, other in zip(boxes, boxes[1:], strict=False):
        assert 0 < other[0, 0] - one[1, 0] < 0.5


def test_variants_of_a_copy_stand_beside_it_at_its_size(asset, varied):
    """As Shift+D leaves it: of the same collection, with an Empty of its own."""
    items = {kind: part(asset, kind) for kind in ("root", "finished")}
    copies = {kind: item.copy() for kind, item in items.items()}
    for item in copies.values():
        asset.objects.link(item)
    copies["finished"].parent = copies["root"]
    copies["root"].location, copies["root"].scale = (0, 50, 0), (3, 3, 3)
    for item in bpy.context.selected_objects:
        item.select_set(False)
    copies["finished"].select_set(True)
    bpy.context.view_layer.objects.active = copies["finished"]
    bpy.context.view_layer.update()
    bpy.ops.trellis.vary()
    done()
    (made,) = variants()
    expected, found = bounds(copies["finished"]), bounds(part(made, "finished"))
    assert np.allclose((found - expected)[:, 1:], 0, atol=1e-4) and found[0, 0] > expected[1, 0]
    assert np.allclose(found[1] - found[0], expected[1] - expected[0], atol=1e-4)


def test_of_an_asset_only_the_finished_mesh_may_be_left(asset, varied):
    for kind in ("mesh", "gaussian"):
        if (item := part(asset, kind)) is not None:
            bpy.data.objects.remove(item)
    finished = part(asset, "finished")
    bpy.context.view_layer.objects.active = finished
    finished.select_set(True)
    bpy.ops.trellis.vary()
    done()
    (made,) = variants()
    assert part(made, "mesh") is not None
    assert bounds(part(made, "finished"))[0, 0] > bounds(finished)[1, 0]


def test_a_variant_of_a_variant_has_the_name_of_one(asset, varied):
    bpy.ops.trellis.vary()
    done()
    (first,) = variants()
    for item in bpy.context.selected_objects:
        item.select_set(False)
    root = part(first, "root")
    root.select_set(True)
    bpy.context.view_layer.objects.active = root
    bpy.ops.trellis.vary()
    done()
    assert {one.name for one in variants()} == {"crate Variant", "crate Variant.001"}


def test_a_variant_keeps_the_size_and_turn_of_the_asset(asset, varied):
    root = part(asset, "root")
    root.scale, root.rotation_euler = (3, 3, 3), (0, 0, 1)
    bpy.context.view_layer.update()
    bpy.ops.trellis.vary()
    done()
    before, after = np.array(asset_matrix(asset)), np.array(asset_matrix(variants()[0]))
    assert np.allclose(before[:3, :3], after[:3, :3], atol=1e-5)
    assert after[0, 3] > before[0, 3] and np.allclose(before[1:3, 3], after[1:3, 3], atol=1e-5)


def test_a_mesh_of_the_scene_comes_back_at_its_place_and_size(varied):
    """Turned, mirrored and scaled; the fake's ball is as wide as the longest side."""
    item = box(size=(1, -2, 4))
    item.rotation_euler = (0, 0, 0.5)
    bpy.context.view_layer.update()
    assert bpy.ops.trellis.vary() == {"FINISHED"}
    done()
    (made,) = variants()
    assert made.name == "Box Variant"
    low, high = bounds(item)
    ball_low, ball_high = bounds(part(made, "mesh"))
    assert np.allclose((ball_low + ball_high) / 2, (low + high) / 2, atol=1e-4)
    assert np.allclose((ball_high - ball_low)[2], 8, atol=1e-4)
    assert np.allclose(bounds(item), [low, high])


def test_several_variants_of_a_mesh_stand_in_a_row(varied, monkeypatch):
    set_model(monkeypatch)
    box(size=(1, 1, 1))
    varied.count = 2
    bpy.ops.trellis.vary()
    done()
    first, second = (bounds(part(one, "mesh")) for one in variants())
    assert np.allclose(first.mean(axis=0), (10, 5, 1), atol=1e-4) and second[0, 0] > first[1, 0]


def test_a_mesh_becomes_an_asset_at_its_place(addon):
    item = box()
    other = box(location=(12, 5, 1), size=(1, 1, 1), name="Knob")
    item.select_set(True)
    assert bpy.ops.trellis.make_editable() == {"FINISHED"}
    done()
    made = bpy.data.collections["Knob Editable"]
    both = np.array([bounds(item), bounds(other)])
    middle = (both[:, 0].min(axis=0) + both[:, 1].max(axis=0)) / 2
    assert np.allclose(bounds(part(made, "mesh")).mean(axis=0), middle, atol=1e-4)
    assert read_latents(made).model == "starter"


def test_retexture_keeps_the_mesh_and_brings_colours(varied):
    bpy.context.scene.trellis.finish.texture = "0"
    item = box(size=(1, 1, 1))
    layer = item.data.uv_layers.active
    uvs = [tuple(one.uv) for one in layer.data]
    places = [tuple(vertex.co) for vertex in item.data.vertices]
    collections = len(bpy.data.collections)
    assert bpy.ops.trellis.retexture() == {"FINISHED"}
    done()
    assert len(bpy.data.collections) == collections
    assert [tuple(one.uv) for one in item.data.uv_layers.active.data] == uvs
    assert [tuple(vertex.co) for vertex in item.data.vertices] == places
    attribute = item.data.color_attributes["Retexture"]
    assert item.data.color_attributes.active_color == attribute
    left = [vertex.co.x < 0 for vertex in item.data.vertices]
    shades = [one.color[0] for one in attribute.data]
    assert [shade < 0.5 for shade in shades] == left  # the fake's gradient runs along x
    assert item.data.materials[0].node_tree.nodes["Color Attribute"].layer_name == "Retexture"


def test_retexture_goes_through_modifiers_and_leaves_materials_and_colours_alone(varied):
    item = box(size=(1, 1, 1))
    item.modifiers.new("Mirror", "MIRROR")
    item.modifiers.new("Subdivision", "SUBSURF").levels = 2
    material = bpy.data.materials.new("Own")
    item.data.materials.append(material)
    painted = item.data.color_attributes.new("Color", "BYTE_COLOR", "CORNER")
    painted.data.foreach_set("color_srgb", [1.0, 0.0, 0.0, 1.0] * len(painted.data))
    bpy.ops.trellis.retexture()
    done()
    assert list(item.data.materials) == [material] and len(item.data.vertices) == 8
    own = item.data.color_attributes["Color"]
    assert own.domain == "CORNER" and {tuple(one.color) for one in own.data} == {(1, 0, 0, 1)}
    shades = [one.color[0] for one in item.data.color_attributes["Retexture"].data]
    assert [shade < 0.5 for shade in shades] == [vertex.co.x < 0 for vertex in item.data.vertices]


@pytest.mark.parametrize("way", ["shape key", "lattice before", "lattice after"])
def test_retexture_colours_a_bent_mesh_as_it_is_seen(varied, way):
    """Its ends change sides, and it gets more vertices, beneath a turned parent."""
    item = box(location=(3, 0, 0), size=(1, -0.5, 1))
    bpy.ops.object.empty_add(location=(0, 0, 4), rotation=(0, 0, 0.4))
    item.parent = bpy.context.object
    bpy.context.view_layer.update()
    if way == "shape key":
        item.shape_key_add(name="Basis")
        key = item.shape_key_add(name="Mirrored", from_mix=False)
        for point in key.data:
            point.co.x *= -1
        key.value = 1.0
    else:
        cage = bpy.data.objects.new("Cage", bpy.data.lattices.new("Cage"))
        bpy.context.scene.collection.objects.link(cage)
        cage.matrix_world = item.matrix_world @ Matrix.Scale(2, 4)
        for point in cage.data.points:
            point.co_deform.x *= -1
        cage.data.interpolation_type_u = "KEY_LINEAR"
        item.modifiers.new("Lattice", "LATTICE").object = cage
    item.modifiers.new("Subdivision", "SUBSURF").levels = 1
    if way == "lattice after":
        item.modifiers.move(0, 1)
    bpy.ops.object.select_all(action="DESELECT")
    item.select_set(True)
    bpy.context.view_layer.objects.active = item
    objects = set(bpy.data.objects)
    bpy.ops.trellis.retexture()
    done()
    assert set(bpy.data.objects) == objects and len(item.data.vertices) == 8
    shades = np.array([one.color[0] for one in item.data.color_attributes["Retexture"].data])
    mirrored = [Vector((-one.co.x, one.co.y, one.co.z)) for one in item.data.vertices]
    seen = np.array([(item.matrix_world @ place).x for place in mirrored])
    further = seen[:, None] < seen - 1e-3
    assert further.sum() == 24  # four places along x, of two vertices each
    assert (shades[:, None] < shades)[further].all()  # the fake's gradient runs along x


def test_retexture_fills_empty_slots_and_leaves_those_of_the_object_alone(varied):
    item = box(size=(1, 1, 1))
    item.data.materials.append(None)
    bpy.ops.trellis.retexture()
    done()
    assert len(item.material_slots) == 1 and item.data.materials[0] is not None
    own = box(location=(20, 0, 0), name="Own")
    own.data.materials.append(None)
    own.material_slots[0].link = "OBJECT"
    own.material_slots[0].material = material = bpy.data.materials.new("Own")
    bpy.ops.object.select_all(action="DESELECT")
    own.select_set(True)
    bpy.ops.trellis.retexture()
    done()
    assert [slot.material for slot in own.material_slots] == [material]


def test_what_was_changed_while_it_was_coloured_stays_as_it_is(varied):
    item = box()
    bpy.ops.trellis.retexture()
    item.data.vertices.add(1)
    item.data.update()
    assert session.pump_until_done(PATIENCE)
    assert '"Box" was changed or removed' in session.status().fault
    assert "Retexture" not in item.data.color_attributes
    bpy.ops.trellis.dismiss()
    bpy.ops.trellis.retexture()
    bpy.data.objects.remove(item)
    assert session.pump_until_done(PATIENCE)
    assert '"Box" was changed or removed' in session.status().fault


def test_what_was_renamed_while_it_was_coloured_is_coloured(varied):
    item = box()
    bpy.ops.trellis.retexture()
    item.name = "Crate"
    done()
    assert "Retexture" in item.data.color_attributes


def test_objects_that_changed_names_while_they_were_coloured_are_coloured(varied):
    first = box(name="First")
    bpy.ops.mesh.primitive_uv_sphere_add(segments=12, ring_count=8, location=(3, 0, 0))
    second = bpy.context.object
    second.name = "Second"
    first.select_set(True)
    bpy.ops.trellis.retexture()
    first.name, second.name = "Third", "First"
    first.name = "Second"
    done()
    assert all("Retexture" in item.data.color_attributes for item in (first, second))


def test_colours_wait_until_edit_mode_is_left(varied):
    item = box()
    bpy.ops.trellis.retexture()
    bpy.ops.object.mode_set(mode="EDIT")
    wait_until(lambda: "leave Edit" in session.status().waiting, meanwhile=session.timer.tick)
    bpy.ops.object.mode_set(mode="OBJECT")
    done()
    assert "Retexture" in item.data.color_attributes


def test_a_mesh_that_is_none_is_a_sentence_and_sends_nothing(varied):
    bpy.ops.mesh.primitive_plane_add()
    for operator in (bpy.ops.trellis.vary, bpy.ops.trellis.make_editable, bpy.ops.trellis.retexture):
        with pytest.raises(RuntimeError, match='"Plane" is flat'):
            operator()
    assert not session.status().job and not variants()


def test_buttons_are_grey_for_a_reason(asset, picture):
    context = bpy.context
    settings = context.scene.trellis.vary
    assert "another picture" in reasons.why_not_vary(context)  # the starter does nothing with another seed
    settings.guide = "PICTURE"
    assert reasons.why_not_vary(context) == "Choose a picture of the whole object"
    settings.guide, settings.prompt = "SENTENCE", "a red ball"
    assert "takes no sentence" in reasons.why_not_vary(context)
    assert "is an asset" in reasons.why_not_encode(context)
    assert "is an asset" in reasons.why_not_retexture(context)
    for item in context.selected_objects:
        item.select_set(False)
    assert reasons.why_not_vary(context) == "Select an asset, or objects with a surface"
    box()
    settings.guide = "OWN"
    assert "no picture of its own" in reasons.why_not_vary(context)
    bpy.ops.object.text_add()
    assert "is no mesh" in reasons.why_not_retexture(context)
    assert selected(context).objects == (context.object,)


def test_an_asset_without_its_latents_says_so(asset):
    bpy.context.scene.trellis.vary.guide = "OWN"
    del asset["trellis_data"]
    assert "does not carry what it was made of" in reasons.why_not_vary(bpy.context)


def test_settings_without_effect_are_left_out(asset, varied):
    info = session.model_info("starter")
    varied.count, varied.strength = 5, 0.9
    assert varied.to_count(info) == 1 and varied.to_strength(info) is None
    assert "next to nothing" in varied.why_idle("count", info)
    assert varied.to_count(None) == 5 and varied.to_strength(None) == pytest.approx(0.9)
    assert panel.TRELLIS_PT_vary.bl_parent_id == "TRELLIS_PT_main"
