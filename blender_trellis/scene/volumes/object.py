"""The volume object of a radiance field, and the material that makes Cycles show it as it is."""

from pathlib import Path

import bpy

from ..find_asset import add_selected
from ..materials import empty_material
from .vdb import COLOR, DENSITY


def volume_object(name: str, path: Path, context: bpy.types.Context) -> bpy.types.Object:
    """A new object that shows a file of `write_vdb`, in the active collection, selected and active."""
    volume = bpy.data.volumes.new(name)
    volume.filepath = str(path)
    volume.render.space = "OBJECT"  # scaling the object keeps it as dense as it looks
    volume.materials.append(_material(name))
    item = bpy.data.objects.new(name, volume)
    add_selected(item, context)
    return item


def _material(name: str) -> bpy.types.Material:
    """Light is swallowed by the density and given off in the field's colour, as much as is swallowed."""
    material, nodes = empty_material(name)
    output = nodes.new("ShaderNodeOutputMaterial")
    density, color = nodes.new("ShaderNodeAttribute"), nodes.new("ShaderNodeAttribute")
    density.attribute_name, color.attribute_name = DENSITY, COLOR
    absorption, emission = nodes.new("ShaderNodeVolumeAbsorption"), nodes.new("ShaderNodeEmission")
    absorption.inputs["Color"].default_value = 0, 0, 0, 1
    both = nodes.new("ShaderNodeAddShader")
    links = material.node_tree.links
    links.new(density.outputs["Fac"], absorption.inputs["Density"])
    links.new(density.outputs["Fac"], emission.inputs["Strength"])
    links.new(color.outputs["Color"], emission.inputs["Color"])
    links.new(absorption.outputs["Volume"], both.inputs[0])
    links.new(emission.outputs["Emission"], both.inputs[1])
    links.new(both.outputs["Shader"], output.inputs["Volume"])
    places = {density: (-500, 100), color: (-500, -100), absorption: (-250, 100), emission: (-250, -100)}
    for node, place in {**places, output: (200, 0)}.items():
        node.location = place
    return material
