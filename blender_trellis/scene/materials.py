"""The two materials: a lit one for meshes with vertex colours, a self-lit one for splats."""

import bpy

COLOR_ATTRIBUTE = "Color"


def vertex_color_material(
    name: str, mean_color: tuple[float, float, float], attribute: str = COLOR_ATTRIBUTE
) -> bpy.types.Material:
    """Principled BSDF whose base colour is the attribute (linear). Solid mode shows `mean_color`."""
    material, nodes = _empty_material(name)
    output = nodes.new("ShaderNodeOutputMaterial")
    principled = nodes.new("ShaderNodeBsdfPrincipled")
    principled.inputs["Roughness"].default_value = 0.7
    color = nodes.new("ShaderNodeVertexColor")
    color.layer_name = attribute
    color.location, principled.location, output.location = (-220, 0), (0, 0), (300, 0)
    links = material.node_tree.links
    links.new(color.outputs["Color"], principled.inputs["Base Color"])
    links.new(principled.outputs["BSDF"], output.inputs["Surface"])
    material.diffuse_color = (*mean_color, 1.0)
    material.roughness = 0.7
    return material


def splat_material(name: str, mean_color: tuple[float, float, float]) -> bpy.types.Material:
    """Emission of the attribute "Color": splats hold the light they were seen in, so none is added."""
    material, nodes = _empty_material(name)
    output = nodes.new("ShaderNodeOutputMaterial")
    emission = nodes.new("ShaderNodeEmission")
    # Not the Color Attribute node, which reads meshes only: these may be points.
    color = nodes.new("ShaderNodeAttribute")
    color.attribute_name = COLOR_ATTRIBUTE
    color.location, emission.location, output.location = (-220, 0), (0, 0), (200, 0)
    links = material.node_tree.links
    links.new(color.outputs["Color"], emission.inputs["Color"])
    links.new(emission.outputs["Emission"], output.inputs["Surface"])
    material.diffuse_color = (*mean_color, 1.0)
    return material


def _empty_material(name: str) -> tuple[bpy.types.Material, bpy.types.Nodes]:
    material = bpy.data.materials.new(name)
    if material.node_tree is None:  # since Blender 5.0 materials are born with one
        material.use_nodes = True
    material.node_tree.nodes.clear()
    return material, material.node_tree.nodes
