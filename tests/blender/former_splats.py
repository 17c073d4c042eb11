"""Objects of Gaussians as former versions of the add-on left them in files.

`recorded/splats_*.json` hold the node group and the material that the code of that version made: nodes with
what differs from Blender's own defaults, and links by the places of nodes and sockets.
"""

import json
from pathlib import Path

import bpy

from blender_trellis.scene.gaussians.node_builder import NodeBuilder
from blender_trellis.scene.gaussians.nodes import set_input
from blender_trellis.scene.gaussians.object import splat_object
from blender_trellis.splats.values import Splats

VERSIONS = (
    "1",
    "2a",
    "2b",
    "3",
    "4",
    "5",
)  # 2a before splats could be drawn in the values of displays, 2b since


def former_object(version: str, splats: Splats, name: str = "scan") -> bpy.types.Object:
    """In the scene; the splats must have harmonics of degree 1, or none with version 1."""
    held = json.loads((Path(__file__).parent / "recorded" / f"splats_{version}.json").read_text())
    item = splat_object(name, splats, [])
    bpy.context.scene.collection.objects.link(item)
    item.modifiers.remove(item.modifiers["Splats"])
    bpy.data.batch_remove(bpy.data.node_groups)
    group = bpy.data.node_groups.new("TRELLIS Splats", "GeometryNodeTree")
    group.is_modifier = True
    group["trellis_splats"] = held["version"]
    for socket, way, kind, value in held["sockets"]:
        made = group.interface.new_socket(socket, in_out=way, socket_type=kind)
        if value is not None:
            made.default_value = value
    _build(group, held["group"])
    material = item.data.materials[0]
    material.node_tree.nodes.clear()
    _build(material.node_tree, held["material"])
    modifier = item.modifiers.new("Splats", "NODES")
    modifier.node_group = group
    set_input(modifier, "Material", material)
    return item


def _build(tree: bpy.types.NodeTree, held: dict) -> None:
    build = NodeBuilder(tree)
    nodes = [
        build.node(kind, {int(place): value for place, value in inputs.items()}, **settings)
        for kind, settings, inputs in held["nodes"]
    ]
    for source, out, target, into in held["links"]:
        tree.links.new(nodes[source].outputs[out], nodes[target].inputs[into])
