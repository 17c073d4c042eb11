"""The colour of a mesh at every corner of its faces, as far as materials say it simply.

A material's base colour is a constant, an image at a UV map, or a colour attribute; what its nodes compute
otherwise counts as the constant that the socket holds. C corners of faces.
"""

import bpy
import numpy as np

from ..srgb import linear_from_srgb

GREY = 0.8  # as Blender shows what has no material


def corner_colors(mesh: bpy.types.Mesh, item: bpy.types.Object | None = None) -> np.ndarray:
    """(C, 3), linear. item: the object that shows the mesh, whose slots may have materials of its own."""
    colors = np.full((len(mesh.loops), 3), GREY, np.float32)
    materials = list(mesh.materials) or [None]
    for number, slot in enumerate(item.material_slots if item is not None else ()):
        if slot.link == "OBJECT" and number < len(mesh.materials):
            materials[number] = slot.material
    if len(materials) == 1:
        colors[:] = _colors_of(materials[0], mesh, np.ones(len(colors), bool))
        return colors
    slots, totals = np.empty((2, len(mesh.polygons)), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    mesh.polygons.foreach_get("loop_total", totals)
    slot_of_corner = np.repeat(np.minimum(slots, len(materials) - 1), totals)
    for slot, material in enumerate(materials):
        here = slot_of_corner == slot
        if here.any():
            colors[here] = _colors_of(material, mesh, here)
    return colors


def vertex_of_corner(mesh: bpy.types.Mesh) -> np.ndarray:
    """(C,) int32: the number of the vertex at each corner, face by face."""
    corners = np.empty(len(mesh.loops), np.int32)
    if len(corners):
        mesh.attributes[".corner_vert"].data.foreach_get("value", corners)
    return corners


def _colors_of(material: bpy.types.Material | None, mesh: bpy.types.Mesh, here: np.ndarray) -> np.ndarray:
    """Of the corners `here` (C,) bool: one colour (3,), or one each."""
    if material is None:
        attribute = mesh.color_attributes.active_color
        return np.full(3, GREY) if attribute is None else _of_attribute(mesh, attribute)[here]
    socket = _base_color(material)
    if socket is None:
        return np.array(material.diffuse_color[:3])
    node = socket.links[0].from_node if socket.is_linked else None
    if node is not None and node.type in ("VERTEX_COLOR", "ATTRIBUTE"):
        name = node.layer_name if node.type == "VERTEX_COLOR" else node.attribute_name
        attribute = mesh.color_attributes.get(name) or mesh.color_attributes.active_color
        if attribute is not None:
            return _of_attribute(mesh, attribute)[here]
    if node is not None and node.type == "TEX_IMAGE" and node.image is not None:
        places = _uv(mesh, node)
        pixels = _pixels(node.image)
        if places is not None and pixels is not None:
            colors = _at(pixels, places[here])
            return colors if _is_linear(node.image) else linear_from_srgb(colors)
    return np.array(socket.default_value[:3])


def _base_color(material: bpy.types.Material) -> bpy.types.NodeSocket | None:
    """The socket that says the colour of the surface, None where no nodes do."""
    if material.node_tree is None or not material.use_nodes:
        return None
    for kind, name in (("BSDF_PRINCIPLED", "Base Color"), ("BSDF_DIFFUSE", "Color"), ("EMISSION", "Color")):
        for node in material.node_tree.nodes:
            if node.type == kind:
                return node.inputs[name]
    return None


def _of_attribute(mesh: bpy.types.Mesh, attribute: bpy.types.Attribute) -> np.ndarray:
    """(C, 3), linear whatever it is stored as."""
    values = np.empty(4 * len(attribute.data), np.float32)
    attribute.data.foreach_get("color", values)
    colors = values.reshape(-1, 4)[:, :3]
    if attribute.domain == "CORNER":
        return colors
    return colors[vertex_of_corner(mesh)]


def _uv(mesh: bpy.types.Mesh, node: bpy.types.Node) -> np.ndarray | None:
    """(C, 2) of the UV map that the texture is laid out on; None where there is none."""
    vector = node.inputs["Vector"]
    named = (
        vector.links[0].from_node.uv_map
        if vector.is_linked and vector.links[0].from_node.type == "UVMAP"
        else ""
    )
    rendered = next((layer for layer in mesh.uv_layers if layer.active_render), None)
    layer = mesh.uv_layers.get(named) or rendered
    if layer is None:
        return None
    values = np.empty(2 * len(layer.uv), np.float32)
    layer.uv.foreach_get("vector", values)
    return values.reshape(-1, 2)


def _pixels(image: bpy.types.Image) -> np.ndarray | None:
    """(height, width, 3) as they are stored, the lowest row first; None of an image without any."""
    width, height = image.size
    if not width or not height or not len(image.pixels):
        return None
    values = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(values)
    colors = values.reshape(height, width, image.channels)
    return colors[..., :3] if image.channels >= 3 else colors[..., :1].repeat(3, axis=-1)


def _is_linear(image: bpy.types.Image) -> bool:
    return image.is_float or image.colorspace_settings.name.startswith(("Linear", "Non-Color"))


def _at(pixels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The nearest pixels (C, 3) at places (C, 2) in [0, 1), beyond which the image repeats."""
    height, width = pixels.shape[:2]
    inside = np.nan_to_num(places) % 1.0
    columns = np.minimum((inside[:, 0] * width).astype(np.int64), width - 1)
    rows = np.minimum((inside[:, 1] * height).astype(np.int64), height - 1)
    return pixels[rows, columns]
