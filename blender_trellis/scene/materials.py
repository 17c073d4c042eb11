"""The material of meshes with vertex colours, lit by the scene."""

import bpy

COLOR_ATTRIBUTE = "Color"
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
    return material


def packed_image(name: str, file: bytes) -> bpy.types.Image:
    """An image file as an image that is packed into the .blend."""
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=file, data_len=len(file))
    image.source = "FILE"
    return image


def remove_unused(mesh: bpy.types.Mesh) -> None:
    """Removes a mesh that nothing uses, and then its materials and their images where nothing uses them."""
    if mesh.users:
        return
    materials = {one for one in mesh.materials if one is not None}
    trees = [one.node_tree for one in materials if one.node_tree is not None]
    images = {node.image for tree in trees for node in tree.nodes if node.type == "TEX_IMAGE" and node.image}
    bpy.data.meshes.remove(mesh)
    for blocks in (materials, images):
        bpy.data.batch_remove([one for one in blocks if one.users == 0])


def empty_material(name: str) -> tuple[bpy.types.Material, bpy.types.Nodes]:
    """A new material without nodes, and where its nodes go."""
    material = bpy.data.materials.new(name)
    if material.node_tree is None:  # since Blender 5.0 materials are born with one
        material.use_nodes = True
    material.node_tree.nodes.clear()
    return material, material.node_tree.nodes
