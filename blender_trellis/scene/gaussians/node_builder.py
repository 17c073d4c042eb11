"""Writes node trees from code, left to right: each call adds a node and returns the socket to go on with."""

from typing import TypeAlias

import bpy

Value: TypeAlias = "bpy.types.NodeSocket | float | tuple[float, ...] | str"


class NodeBuilder:
    """Adds nodes to `tree`, of geometry or of a material."""

    def __init__(self, tree: bpy.types.NodeTree):
        self.tree = tree

    def node(
        self, kind: str, inputs: dict[str | int, Value] | None = None, **settings: object
    ) -> bpy.types.Node:
        """A node with its settings made, then its inputs, by name or place, linked or given a value."""
        node = self.tree.nodes.new(kind)
        place = len(self.tree.nodes)
        node.location = (180 * (place // 8), -170 * (place % 8))
        for name, value in settings.items():
            if hasattr(node, name):
                setattr(node, name, value)
            else:  # Blender 5.0 turned some into menu inputs: pattern_mode WILDCARD, Pattern Mode Wildcard
                _named(node.inputs, name.replace("_", " ").title()).default_value = str(value).title()
        for key, value in (inputs or {}).items():
            self.put(node.inputs[key] if isinstance(key, int) else _named(node.inputs, key), value)
        return node

    def put(self, socket: bpy.types.NodeSocket, value: Value) -> None:
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def math(self, operation: str, *values: Value, clamp: bool = False) -> bpy.types.NodeSocket:
        node = self.node("ShaderNodeMath", dict(enumerate(values)), operation=operation, use_clamp=clamp)
        return node.outputs["Value"]

    def vector(self, operation: str, *values: Value) -> bpy.types.NodeSocket:
        """A vector, or a number where the operation gives one."""
        node = self.node("ShaderNodeVectorMath", operation=operation)
        for place, value in enumerate(values):
            self.put(node.inputs["Scale"] if operation == "SCALE" and place else node.inputs[place], value)
        return next(socket for socket in node.outputs if socket.enabled)

    def choice(self, condition: Value, no: Value, yes: Value, kind: str = "FLOAT") -> bpy.types.NodeSocket:
        """One of two numbers, or values of another kind; in geometry nodes only."""
        inputs: dict[str | int, Value] = {"Switch": condition, "False": no, "True": yes}
        node = self.node("GeometryNodeSwitch", inputs, input_type=kind)
        return next(socket for socket in node.outputs if socket.enabled)

    def stored(
        self, geometry: bpy.types.NodeSocket, name: str, kind: str, value: bpy.types.NodeSocket
    ) -> bpy.types.NodeSocket:
        """The geometry with an attribute of its points; in geometry nodes only."""
        node = self.node(
            "GeometryNodeStoreNamedAttribute",
            {"Geometry": geometry, "Name": name, "Value": value},
            data_type=kind,
            domain="POINT",
        )
        return node.outputs["Geometry"]

    def combined(self, *values: Value) -> bpy.types.NodeSocket:
        return self.node("ShaderNodeCombineXYZ", dict(enumerate(values))).outputs["Vector"]

    def separated(self, value: Value) -> tuple[bpy.types.NodeSocket, ...]:
        return tuple(self.node("ShaderNodeSeparateXYZ", {0: value}).outputs)


def _named(sockets: bpy.types.bpy_prop_collection, name: str) -> bpy.types.NodeSocket:
    """The socket of that name that is in use: nodes keep one for each type that they could take."""
    return next(socket for socket in sockets if socket.name == name and socket.enabled)
