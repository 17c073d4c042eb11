"""The geometry nodes that show a Gaussian object: coloured points, or ellipsoids for a closer look.

In: vertices with `opacity` (logit), `scale_0..2` (log), `rot_0..3` (w, x, y, z). Out: points or a mesh.
"""

import bpy

GROUP_NAME = "TRELLIS Splats"
# Bump when the nodes change: files keep the group they were saved with, new results get the new one.
GROUP_VERSION = 1
HIDDEN_BELOW_LOGIT = -3.0  # splats under 5 % opacity are haze that spheres, being opaque, would turn to grit


def splat_nodes() -> bpy.types.NodeTree:
    """The node group, made on first use in a file."""
    for tree in bpy.data.node_groups:
        if tree.get("trellis_splats") == GROUP_VERSION and not tree.library:
            return tree
    return _Builder().tree


def set_input(modifier: bpy.types.NodesModifier, name: str, value: object) -> None:
    """Sets one of the group's inputs on an object's modifier."""
    inputs = (item for item in modifier.node_group.interface.items_tree if item.in_out == "INPUT")
    identifier = next(item.identifier for item in inputs if item.name == name)
    if hasattr(modifier, "properties"):  # Blender 5.2 on; custom properties before
        getattr(modifier.properties.inputs, identifier).value = value
    else:
        modifier[identifier] = value


class _Builder:
    """Builds the group left to right."""

    def __init__(self):
        self.tree = bpy.data.node_groups.new(GROUP_NAME, "GeometryNodeTree")
        self.tree.is_modifier = True
        self.tree["trellis_splats"] = GROUP_VERSION
        self._declare_sockets()
        group_in, group_out = self.node("NodeGroupInput", -1100), self.node("NodeGroupOutput", 900)
        kept = self.without_haze(group_in.outputs["Geometry"])
        size = group_in.outputs["Size"]
        switch = self.node("GeometryNodeSwitch", 500, input_type="GEOMETRY")
        self.link(group_in.outputs["Ellipsoids"], switch.inputs["Switch"])
        self.link(self.points(kept, size), switch.inputs["False"])
        self.link(self.ellipsoids(kept, size), switch.inputs["True"])
        material = self.node("GeometryNodeSetMaterial", 700)
        self.link(switch.outputs["Output"], material.inputs["Geometry"])
        self.link(group_in.outputs["Material"], material.inputs["Material"])
        self.link(material.outputs["Geometry"], group_out.inputs["Geometry"])

    def _declare_sockets(self) -> None:
        sockets = self.tree.interface
        sockets.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
        ellipsoids = sockets.new_socket("Ellipsoids", in_out="INPUT", socket_type="NodeSocketBool")
        ellipsoids.description = "Show each splat in its true shape; slower than points"
        size = sockets.new_socket("Size", in_out="INPUT", socket_type="NodeSocketFloat")
        size.default_value, size.min_value, size.max_value = 1.5, 0.0, 10.0
        size.description = "Radius in standard deviations"
        sockets.new_socket("Material", in_out="INPUT", socket_type="NodeSocketMaterial")
        sockets.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")

    def node(self, kind: str, x: float, **settings: object) -> bpy.types.Node:
        node = self.tree.nodes.new(kind)
        node.location = (x, -160 * (len(self.tree.nodes) % 6))
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    def link(self, source: bpy.types.NodeSocket, target: bpy.types.NodeSocket) -> None:
        self.tree.links.new(source, target)

    def attribute(self, name: str) -> bpy.types.NodeSocket:
        node = self.node("GeometryNodeInputNamedAttribute", -900, data_type="FLOAT")
        node.inputs["Name"].default_value = name
        return next(socket for socket in node.outputs if socket.enabled)

    def math(self, operation: str, *values: bpy.types.NodeSocket | float) -> bpy.types.NodeSocket:
        node = self.node("ShaderNodeMath", -700, operation=operation)
        for socket, value in zip(node.inputs, values, strict=False):
            if isinstance(value, float):
                socket.default_value = value
            else:
                self.link(value, socket)
        return node.outputs["Value"]

    def without_haze(self, geometry: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        haze = self.math("LESS_THAN", self.attribute("opacity"), HIDDEN_BELOW_LOGIT)
        delete = self.node("GeometryNodeDeleteGeometry", -400, domain="POINT")
        self.link(geometry, delete.inputs["Geometry"])
        self.link(haze, delete.inputs["Selection"])
        return delete.outputs["Geometry"]

    def points(self, geometry: bpy.types.NodeSocket, size: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """Spheres of the ellipsoid's volume; Blender draws point clouds without making meshes of them."""
        x, y, z = (self.attribute(f"scale_{axis}") for axis in range(3))
        mean_log = self.math("DIVIDE", self.math("ADD", self.math("ADD", x, y), z), 3.0)
        points = self.node("GeometryNodeMeshToPoints", 200, mode="VERTICES")
        self.link(geometry, points.inputs["Mesh"])
        self.link(self.math("MULTIPLY", self.math("EXPONENT", mean_log), size), points.inputs["Radius"])
        return points.outputs["Points"]

    def ellipsoids(self, geometry: bpy.types.NodeSocket, size: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        combine = self.node("ShaderNodeCombineXYZ", -400)
        for axis in range(3):
            deviation = self.math("EXPONENT", self.attribute(f"scale_{axis}"))
            self.link(self.math("MULTIPLY", deviation, size), combine.inputs[axis])
        rotation = self.node("FunctionNodeQuaternionToRotation", -400)
        for place in range(4):
            self.link(self.attribute(f"rot_{place}"), rotation.inputs[place])
        sphere = self.node("GeometryNodeMeshIcoSphere", -200)
        sphere.inputs["Radius"].default_value, sphere.inputs["Subdivisions"].default_value = 1.0, 1
        instances = self.node("GeometryNodeInstanceOnPoints", 0)
        self.link(geometry, instances.inputs["Points"])
        self.link(sphere.outputs["Mesh"], instances.inputs["Instance"])
        self.link(rotation.outputs["Rotation"], instances.inputs["Rotation"])
        self.link(combine.outputs["Vector"], instances.inputs["Scale"])
        # Realised, so that the material finds `Color` on the geometry as it does on points.
        realize = self.node("GeometryNodeRealizeInstances", 200)
        self.link(instances.outputs["Instances"], realize.inputs["Geometry"])
        return realize.outputs["Geometry"]
