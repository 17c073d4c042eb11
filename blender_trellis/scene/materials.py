"""The materials of generated meshes, lit by the scene, and what becomes of an artist's own on them."""

import hashlib
import json
from collections.abc import Iterable

import bpy

COLOR_ATTRIBUTE = "Color"
MADE = "trellis_made"  # on materials: how they were made; on images that they were
CHOICES = ("layer_name", "interpolation", "extension", "projection")  # of a node, beside its inputs
MATTE = 1.0  # roughness, as of textures unless told otherwise: what shines takes from a colour


def vertex_color_material(
    name: str, mean_color: tuple[float, float, float], attribute: str = COLOR_ATTRIBUTE
) -> bpy.types.Material:
    """Principled BSDF whose base colour is the attribute (linear). Solid mode shows `mean_color`."""
    material, nodes = empty_material(name)
    output = nodes.new("ShaderNodeOutputMaterial")
    principled = nodes.new("ShaderNodeBsdfPrincipled")
    principled.inputs["Roughness"].default_value = MATTE
    color = nodes.new("ShaderNodeVertexColor")
    color.layer_name = attribute
    color.location, principled.location, output.location = (-220, 0), (0, 0), (300, 0)
    links = material.node_tree.links
    links.new(color.outputs["Color"], principled.inputs["Base Color"])
    links.new(principled.outputs["BSDF"], output.inputs["Surface"])
    material.diffuse_color = (*mean_color, 1.0)
    material.roughness = MATTE
    material[MADE] = looks(material.node_tree)
    return material


def texture_material(
    name: str,
    mean_color: tuple[float, float, float],
    image: bpy.types.Image,
    roughness: float,
    metallic: float,
) -> bpy.types.Material:
    """Principled BSDF whose base colour is the image. Solid mode shows `mean_color`."""
    material, nodes = empty_material(name)
    output = nodes.new("ShaderNodeOutputMaterial")
    principled = nodes.new("ShaderNodeBsdfPrincipled")
    principled.inputs["Roughness"].default_value = roughness
    principled.inputs["Metallic"].default_value = metallic
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    texture.location, principled.location, output.location = (-320, 0), (0, 0), (300, 0)
    links = material.node_tree.links
    links.new(texture.outputs["Color"], principled.inputs["Base Color"])
    links.new(principled.outputs["BSDF"], output.inputs["Surface"])
    nodes.active = texture  # which Solid view shows where it shows textures
    material.diffuse_color = (*mean_color, 1.0)
    material.roughness, material.metallic = roughness, metallic
    material[MADE] = looks(material.node_tree)
    return material


def packed_image(name: str, file: bytes) -> bpy.types.Image:
    """An image file as an image that is packed into the .blend."""
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=file, data_len=len(file))
    image.source = "FILE"
    image[MADE] = True
    return image


def is_as_made(material: bpy.types.Material) -> bool:
    """Whether the material was made here and nobody has changed it, but for what is painted on its image."""
    if MADE in material:
        return material[MADE] == looks(material.node_tree) and all(
            MADE in node.image for node in _textures(material)
        )
    # Those of earlier versions bear no mark.
    nodes = _nodes(material)
    places = {node.type: tuple(node.location) for node in nodes}
    common = {"BSDF_PRINCIPLED": (0, 0), "OUTPUT_MATERIAL": (300, 0)}
    images = [node.image for node in _textures(material)]
    return len(nodes) == 3 and (
        (places == common | {"VERTEX_COLOR": (-220, 0)})
        or (places == common | {"TEX_IMAGE": (-320, 0)} and all(_is_unnamed(one) for one in images))
    )


def carry_materials(old: bpy.types.Mesh, new: bpy.types.Mesh) -> None:
    """Gives a new mesh, which has the material that was made for it, the artist's of the old one. They show
    its texture where they showed the former, which goes by other coordinates.

    Where the old mesh's first material is as it was made, the new one takes its place.
    """
    own = new.materials[0]
    image = next((node.image for node in _textures(own)), None)
    theirs = [one for one in old.materials if one is not None and not is_as_made(one)]
    theirs = [one for one in theirs if image is not None or not _made_textures(one)]
    is_replaced = bool(theirs) and old.materials[0] == theirs[0]
    carried = [_with_texture(one, image, old) for one in theirs]
    new.materials.clear()
    for material in carried if is_replaced else [own, *carried]:
        new.materials.append(material)
    if is_replaced:
        _remove([own])


def _with_texture(
    material: bpy.types.Material, image: bpy.types.Image | None, old: bpy.types.Mesh
) -> bpy.types.Material:
    """The material with another image made here in the place of the former; a copy where others use it."""
    if image is None or not _made_textures(material):
        return material
    if old.users or material.users > 1:
        material = material.copy()
    former = {node.image for node in _made_textures(material)}
    for node in _made_textures(material):
        node.image = image
    bpy.data.batch_remove([one for one in former if one.users == 0])
    return material


def remove_unused(mesh: bpy.types.Mesh) -> None:
    """Removes a mesh that nothing uses, and then what was made for it, materials and their images, where
    nothing uses them. What an artist has made or changed stays in the file."""
    if mesh.users:
        return
    materials = list({one for one in mesh.materials if one is not None})
    bpy.data.meshes.remove(mesh)
    _remove(materials)


def _remove(materials: Iterable[bpy.types.Material]) -> None:
    """Removes those that are as they were made, and images made here, where nothing uses them."""
    made = [one for one in materials if is_as_made(one)]
    images = {node.image for one in made for node in _textures(one)}
    bpy.data.batch_remove([one for one in made if one.users == 0])
    bpy.data.batch_remove([one for one in images if one.users == 0])


def _nodes(material: bpy.types.Material) -> list[bpy.types.Node]:
    return [] if material.node_tree is None else list(material.node_tree.nodes)


def _textures(material: bpy.types.Material) -> list[bpy.types.ShaderNodeTexImage]:
    return [node for node in _nodes(material) if node.type == "TEX_IMAGE" and node.image is not None]


def _made_textures(material: bpy.types.Material) -> list[bpy.types.ShaderNodeTexImage]:
    return [node for node in _textures(material) if MADE in node.image]


def _is_unnamed(image: bpy.types.Image) -> bool:
    """Whether it is packed and of no file, as an image made here."""
    return image.packed_file is not None and not image.filepath


def looks(tree: bpy.types.NodeTree | None, choices: Iterable[str] = CHOICES) -> str:
    """Equal for trees with the same nodes and values, whatever their images are."""
    nodes = [
        (node.name, node.type, node.mute, *(getattr(node, name, "") for name in choices), _values(node))
        for node in (() if tree is None else tree.nodes)
    ]
    ends = [
        (one.from_node.name, one.from_socket.identifier, one.to_node.name, one.to_socket.identifier)
        for one in (() if tree is None else tree.links)
    ]
    return hashlib.sha256(json.dumps([sorted(nodes), sorted(ends)], default=repr).encode()).hexdigest()


def _values(node: bpy.types.Node) -> list[object]:
    """What its inputs hold."""
    held = [getattr(socket, "default_value", None) for socket in node.inputs]
    return [list(one) if isinstance(one, bpy.types.bpy_prop_array) else one for one in held]


def empty_material(name: str) -> tuple[bpy.types.Material, bpy.types.Nodes]:
    """A new material without nodes, and where its nodes go."""
    material = bpy.data.materials.new(name)
    if material.node_tree is None:  # since Blender 5.0 materials are born with one
        material.use_nodes = True
    material.node_tree.nodes.clear()
    return material, material.node_tree.nodes
