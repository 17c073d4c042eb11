"""Objects of a scene as one coloured mesh: what the backend is sent of them."""

import bpy
import numpy as np
import pytest

from blender_trellis.faults import Fault
from blender_trellis.meshes.source import read_objects

TETRAHEDRON = ([(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3)], [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)])


def add(name: str = "Rock", vertices=TETRAHEDRON[0], faces=TETRAHEDRON[1]) -> bpy.types.Object:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices, [], faces)
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def read(*objects: bpy.types.Object):
    return read_objects(objects, bpy.context.evaluated_depsgraph_get())


def world(source) -> np.ndarray:
    return source.vertices @ source.matrix[:3, :3].T + source.matrix[:3, 3]


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Above 0 where the triangles' fronts look outwards."""
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def paint(item: bpy.types.Object, **inputs) -> bpy.types.Node:
    """A Principled BSDF on the object; gives the node back."""
    material = bpy.data.materials.new("Paint")
    if material.node_tree is None:
        material.use_nodes = True
    item.data.materials.append(material)
    node = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    for name, value in inputs.items():
        node.inputs[name.replace("_", " ")].default_value = value
    return node


def test_the_mesh_lies_round_the_origin_and_the_matrix_takes_it_back():
    item = add()
    item.location, item.scale, item.rotation_euler = (1e4, -20, 7), (2, 3, 0.5), (0.4, 1.0, 2.0)
    source = read(item)
    assert np.ptp(source.vertices, axis=0).max() == pytest.approx(1.0)
    assert np.abs(source.vertices).max() <= 0.5 + 1e-6
    bpy.context.view_layer.update()
    wanted = [item.matrix_world @ vertex.co for vertex in item.data.vertices]
    assert np.allclose(world(source), np.array(wanted), rtol=0, atol=2e-3)  # single precision at 10,000


@pytest.mark.parametrize("scale", [(1, 1, 1), (-1, 1, 1), (-2, -1, 1), (-1, -1, -1)])
def test_a_mirrored_object_keeps_its_outside_out(scale):
    item = add()
    item.scale = scale
    source = read(item)
    assert volume(world(source), source.faces) == pytest.approx(abs(np.prod(scale)) * 1.0)


def test_modifiers_several_objects_and_instances_are_joined():
    item, other = add(), add("Other")
    other.location = (5, 0, 0)
    array = item.modifiers.new("Array", "ARRAY")
    array.count, array.use_relative_offset, array.use_constant_offset = 3, False, True
    array.constant_offset_displace = (0, 4, 0)
    child = add("Leaf")
    child.location = (0, 0, 9)
    bpy.data.objects["Other"].instance_type = "VERTS"  # a leaf at each of its vertices
    child.parent = other
    source = read(item, other)
    leaves = 4
    assert source.faces.shape == (4 * (3 + 1 + leaves), 3)
    assert sum(count for _, count in source.parts) == len(source.vertices)
    assert {name for name, _ in source.parts} == {"Rock", "Other"}
    points = world(source)
    assert points[:, 1].max() == pytest.approx(2 * 4 + 2) and points[:, 0].max() == pytest.approx(7)


def test_quads_and_curves_become_triangles():
    bpy.ops.mesh.primitive_cube_add(size=2)
    cube = read(bpy.context.object)
    assert cube.faces.shape == (12, 3) and volume(world(cube), cube.faces) == pytest.approx(8)
    bpy.ops.curve.primitive_bezier_circle_add()
    bpy.context.object.data.bevel_depth = 0.2
    assert len(read(bpy.context.object).faces) > 100


def test_colours_of_attributes_materials_and_images():
    half = 0.7353569830524495  # 0.5 in linear light
    item = add()
    attribute = item.data.color_attributes.new("Tint", "BYTE_COLOR", "POINT")
    attribute.data.foreach_set("color", [0.5, 0, 0, 1] * 4)
    assert np.allclose(read(item).colors, (half, 0, 0), atol=0.005)
    node = paint(item, Base_Color=(0, 0.5, 1, 1))
    assert np.allclose(read(item).colors, (0, half, 1), atol=1e-5)
    tree = node.id_data
    color = tree.nodes.new("ShaderNodeVertexColor")
    color.layer_name = "Tint"
    tree.links.new(color.outputs["Color"], node.inputs["Base Color"])
    assert np.allclose(read(item).colors, (half, 0, 0), atol=0.005)


def test_a_material_of_the_object_goes_before_that_of_its_mesh():
    first = add()
    paint(first, Base_Color=(1, 0, 0, 1))
    second = bpy.data.objects.new("Green", first.data)
    bpy.context.scene.collection.objects.link(second)
    green = bpy.data.materials.new("Green")
    if green.node_tree is None:
        green.use_nodes = True
    green.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0, 1, 0, 1)
    second.material_slots[0].link = "OBJECT"
    second.material_slots[0].material = green
    colors = read(first, second).colors
    assert np.allclose(colors[:4], (1, 0, 0)) and np.allclose(colors[4:], (0, 1, 0))


def test_an_image_is_looked_up_where_the_uvs_say():
    """Red and blue halves; vertices at 0.25 and 0.75, one of them a whole image further on."""
    item = add()
    image = bpy.data.images.new("halves", 8, 4)
    image.pixels[:] = ([1, 0, 0, 1] * 4 + [0, 0, 0.5, 1] * 4) * 4
    node = paint(item)
    tree = node.id_data
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    tree.links.new(texture.outputs["Color"], node.inputs["Base Color"])
    across = [0.25, 0.75, 1.25, -0.25]
    layer = item.data.uv_layers.new(name="UV")
    for loop, place in zip(item.data.loops, layer.uv, strict=True):
        place.vector = (across[loop.vertex_index], 0.5)
    red, blue = (1, 0, 0), (0, 0, 0.5)
    assert np.allclose(read(item).colors, [red, blue, red, blue], atol=1 / 255)


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        ([(0, 0, 0), (1, 0, 0)], [], '"Rock" has no faces'),
        ([(0, 0, 0), (1, 0, 0), (0, float("nan"), 1)], [(0, 1, 2)], "not at finite places"),
        ([(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 2)], [(0, 1, 3, 2)], '"Rock" is flat'),
        ([(1, 1, 1)] * 3, [(0, 1, 2)], '"Rock" is flat'),
    ],
)
def test_what_is_no_body_is_refused_with_its_name(vertices, faces, words):
    with pytest.raises(Fault, match=words):
        read(add("Rock", vertices, faces))


def test_too_many_faces_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr("blender_trellis.meshes.source.MOST_FACES", 7)
    assert len(read(add()).faces) == 4
    with pytest.raises(Fault, match='"Rock.001" brings the selection over 7 triangles'):
        read(bpy.data.objects["Rock"], add())


def test_nothing_to_read_is_a_sentence():
    empty = bpy.data.objects.new("Empty", None)
    with pytest.raises(Fault, match="No mesh object is selected"):
        read(empty)


def test_reading_leaves_the_scene_as_it_was():
    item = add()
    before = {name: len(getattr(bpy.data, name)) for name in ("meshes", "objects", "materials", "images")}
    read(item)
    after = {name: len(getattr(bpy.data, name)) for name in before}
    assert after == before and len(item.data.vertices) == 4


def test_an_object_without_vertices_has_no_faces_and_no_part_in_others():
    empty, rock = add("Empty", [], []), add()
    with pytest.raises(Fault, match='"Empty" has no faces'):
        read(empty)
    assert read(empty, rock).parts == (("Rock", 4),)
