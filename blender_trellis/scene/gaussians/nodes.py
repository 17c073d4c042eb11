"""The geometry nodes that show a Gaussian object: one low-poly hull a splat, for the material to draw it in.

In: vertices with `opacity` (logit), `scale_0..2` (log), `rot_0..3` (w, x, y, z), `f_dc_0..2` and, up to a
degree of spherical harmonics, `f_rest_*`. Out: a mesh of octahedra, or of cards that face the camera, with
what `splat_material` reads: `splat_place` (the vertex in its splat's own frame, where the splat ends at 1),
`splat_x`, `_y`, `_z` (the rows of the matrix that leads into that frame), `splat_opacity` (below 0 on cards,
above 1 on solid ellipsoids) and `splat_color`, and for Solid view `Color`, linear.
"""

import math
from typing import Any

import bpy

from ..materials import looks
from .cards import card
from .color_nodes import add_color
from .node_builder import NodeBuilder

GROUP_NAME = "TRELLIS Splats"
KEY = "trellis_splats"
LOOKS = "trellis_splats_looks"  # of a group as it was made
_SETTINGS = ("operation", "data_type", "input_type", "transform_space", "use_clamp")
# Bump when the nodes change, and note in `renewal` what the former ones were: it brings files up to this one.
GROUP_VERSION = 6
LEAST_OPACITY = 1 / 255  # a splat whose centre has less is not seen, as in the published rasteriser
END = 0.01  # a hull ends where its splat's fall-off has come down to this opacity: more is only slower
FAINTEST = 0.1  # fainter splats end where they have come down to END / FAINTEST of themselves
HAZE_LOGIT = -3.0  # splats under 5 % opacity are haze that ellipsoids, being opaque, would turn to grit
THINNEST = 0.01  # of the widest axis: thinner hulls would have their two sides in one place
CORNER = math.sqrt(3.0)  # of an octahedron around the unit sphere
WIDENED = 0.1  # pixels², as the engine's rasteriser and TRELLIS's own have it; most viewers have 0.3
IN_VIEWPORT, SIZE, ENCODED = "Splats in Viewport", "Ellipsoid Size", "Display Values"
FACING, WIDENING = "Face the Camera", "Pixel Widening"
INPUTS = (IN_VIEWPORT, SIZE, ENCODED, FACING, WIDENING, "Material")


def splat_nodes(degree: int = 0) -> bpy.types.NodeTree:
    """The node group for harmonics of that degree (0 to 3), made on first use in a file, and anew where
    somebody has changed it.
    """
    name = f"{GROUP_NAME} {degree}" if degree else GROUP_NAME
    marked = (tree for tree in bpy.data.node_groups if _marks(tree) == [GROUP_VERSION, degree])
    as_made = [tree for tree in marked if not tree.library and tree.get(LOOKS) == looks(tree, _SETTINGS)]
    if as_made:
        return min(as_made, key=lambda tree: tree.name != name)
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    tree.is_modifier = True
    tree[KEY] = (GROUP_VERSION, degree)
    _declare_sockets(tree.interface)
    _build(NodeBuilder(tree), degree)
    tree[LOOKS] = looks(tree, _SETTINGS)
    return tree


def version_of(tree: bpy.types.NodeTree | None) -> int:
    """Of which version of `splat_nodes` the group is; 0 of none, or of one that is newer than this add-on."""
    marks = _marks(tree)
    return marks[0] if marks and 1 <= marks[0] <= GROUP_VERSION else 0


def degree_of(tree: bpy.types.NodeTree) -> int:
    """Up to which degree the group evaluates harmonics."""
    return (*_marks(tree), 0, 0)[1]


def _marks(tree: bpy.types.NodeTree | None) -> list[int]:
    held: Any = tree.get(KEY) if tree is not None else None
    if isinstance(held, int):  # version 1, which knew no harmonics
        return [held]
    return [int(one) for one in held.to_list()] if hasattr(held, "to_list") else []


def span(build: NodeBuilder, opacity: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """By which factor a splat's opacity falls from its centre to where its hull ends."""
    return build.math("DIVIDE", build.math("MAXIMUM", opacity, FAINTEST), END)


def has_input(modifier: bpy.types.NodesModifier, name: str) -> bool:
    """Whether the group has that input: those of former versions have fewer."""
    return input_of(modifier.node_group, name) is not None


def set_input(modifier: bpy.types.NodesModifier, name: str, value: object) -> None:
    """Sets one of the group's inputs on an object's modifier, if the group has it."""
    if not has_input(modifier, name):
        return
    owner, key = input_property(modifier, name)
    if key == "value":
        owner.value = value
    else:
        owner[key[2:-2]] = value


def get_input(modifier: bpy.types.NodesModifier, name: str) -> Any:
    """What one of the group's inputs is set to; None where the group does not have it."""
    if not has_input(modifier, name):
        return None
    owner, key = input_property(modifier, name)
    return owner.value if key == "value" else owner[key[2:-2]]


def input_property(modifier: bpy.types.NodesModifier, name: str) -> tuple[Any, str]:
    """Whose property the input is and under which name, as `UILayout.prop` takes them."""
    found = input_of(modifier.node_group, name)
    assert found is not None, name
    if hasattr(modifier, "properties"):  # Blender 5.2 on; custom properties before
        return getattr(modifier.properties.inputs, found.identifier), "value"
    return modifier, f'["{found.identifier}"]'


def input_of(tree: bpy.types.NodeTree, name: str) -> Any:
    """The group's own declaration of an input, with its identifier and default; None where it has none."""
    inputs = (item for item in tree.interface.items_tree if item.in_out == "INPUT")
    return next((item for item in inputs if item.name == name), None)


def _declare_sockets(sockets: bpy.types.NodeTreeInterface) -> None:
    sockets.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    splats = sockets.new_socket(IN_VIEWPORT, in_out="INPUT", socket_type="NodeSocketBool")
    splats.description = (
        "Draw viewports as renders are: soft, for Material Preview and Rendered. Else solid ellipsoids"
    )
    size = sockets.new_socket(SIZE, in_out="INPUT", socket_type="NodeSocketFloat")
    size.default_value, size.min_value, size.max_value = 1.8, 0.0, 10.0
    size.description = "How far the solid ellipsoids reach, in standard deviations"
    encoded = sockets.new_socket(ENCODED, in_out="INPUT", socket_type="NodeSocketBool")
    encoded.description = "Mix colors as displays have them, for the view transform Raw"
    facing = sockets.new_socket(FACING, in_out="INPUT", socket_type="NodeSocketBool")
    facing.default_value = True
    facing.description = "Renders draw splats in the order that viewers have. Off: for shadows and mirrors"
    widening = sockets.new_socket(WIDENING, in_out="INPUT", socket_type="NodeSocketFloat")
    widening.default_value, widening.min_value, widening.max_value = WIDENED, 0.0, 10.0
    widening.description = (
        "Pixels² by which renders widen splats that face the camera, as rasterisers do. Most viewers: 0.3"
    )
    sockets.new_socket("Material", in_out="INPUT", socket_type="NodeSocketMaterial")
    sockets.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")


def _build(build: NodeBuilder, degree: int) -> None:
    group_in = build.node("NodeGroupInput").outputs
    in_viewport = build.node("GeometryNodeIsViewport").outputs[0]
    solid = build.math("GREATER_THAN", build.math("SUBTRACT", in_viewport, group_in[IN_VIEWPORT]), 0.5)
    logit = _attribute(build, "opacity")
    faint = build.choice(solid, math.log(LEAST_OPACITY / (1 - LEAST_OPACITY)), HAZE_LOGIT)
    geometry = _without(build, group_in["Geometry"], build.math("LESS_THAN", logit, faint))
    opacity = build.math(
        "DIVIDE", 1.0, build.math("ADD", build.math("EXPONENT", build.math("MULTIPLY", logit, -1.0)), 1.0)
    )
    logarithm = build.math("LOGARITHM", span(build, opacity), math.e)
    reach = build.math("SQRT", build.math("MULTIPLY", logarithm, 2.0))  # in standard deviations
    rotation = build.node(
        "FunctionNodeQuaternionToRotation", {place: _attribute(build, f"rot_{place}") for place in range(4)}
    ).outputs["Rotation"]
    turned = [
        build.node("FunctionNodeRotateVector", {"Vector": axis, "Rotation": rotation}).outputs[0]
        for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    ]
    geometry = add_color(build, geometry, degree, group_in[ENCODED])
    facing = build.math("GREATER_THAN", build.math("SUBTRACT", group_in[FACING], in_viewport), 0.5)
    peak = build.math("MULTIPLY", opacity, build.choice(facing, 1.0, -1.0))
    geometry = build.stored(geometry, "splat_opacity", "FLOAT", build.choice(solid, peak, 2.0))
    corner = build.math("DIVIDE", group_in[SIZE], CORNER)
    hulls = _hulls(
        build, geometry, group_in["Geometry"], rotation, turned, build.choice(solid, reach, corner)
    )
    cards = _cards(build, geometry, turned, reach, group_in[WIDENING])
    mesh = build.choice(facing, hulls, cards, "GEOMETRY")
    material = build.node("GeometryNodeSetMaterial", {"Geometry": mesh, "Material": group_in["Material"]})
    build.node("NodeGroupOutput", {0: material.outputs[0]})


def _hulls(
    build: NodeBuilder,
    points: bpy.types.NodeSocket,
    vertices: bpy.types.NodeSocket,
    rotation: bpy.types.NodeSocket,
    turned: list[bpy.types.NodeSocket],
    reach: bpy.types.NodeSocket,
) -> bpy.types.NodeSocket:
    """An octahedron around each splat, so many standard deviations wide, in its turned frame."""
    logs = [_attribute(build, f"scale_{axis}") for axis in range(3)]
    widest = build.math("MAXIMUM", build.math("MAXIMUM", logs[0], logs[1]), logs[2])
    least = build.math("ADD", widest, math.log(THINNEST))
    radii = [
        build.math("MULTIPLY", build.math("EXPONENT", build.math("MAXIMUM", log, least)), reach)
        for log in logs
    ]
    for name, axis, radius in zip("xyz", turned, radii, strict=True):
        row = build.vector("SCALE", axis, build.math("DIVIDE", 1.0, radius))
        points = build.stored(points, f"splat_{name}", "FLOAT_VECTOR", row)
    return _realized(build, points, _octahedron(build, vertices), rotation, build.combined(*radii))


def _cards(
    build: NodeBuilder,
    points: bpy.types.NodeSocket,
    turned: list[bpy.types.NodeSocket],
    reach: bpy.types.NodeSocket,
    widening: bpy.types.NodeSocket,
) -> bpy.types.NodeSocket:
    """A card on each splat. Its place is that on the card, wherever the ray comes from: of the rows that lead
    into the splat's frame only the last is there, across the card."""
    axes = []
    for place, axis in enumerate(turned):
        deviation = build.math("EXPONENT", _attribute(build, f"scale_{place}"))
        axes.append(build.vector("SCALE", axis, build.math("MULTIPLY", deviation, reach)))
    made = card(build, axes, build.math("MULTIPLY", build.math("SQRT", widening), reach))
    points = build.stored(points, "splat_z", "FLOAT_VECTOR", made.normal)
    square = build.node("GeometryNodeMeshGrid", {0: 2.0, 1: 2.0, 2: 2, 3: 2}).outputs["Mesh"]
    place = build.node("GeometryNodeInputPosition").outputs[0]
    square = build.stored(square, "splat_place", "FLOAT_VECTOR", place)
    return _realized(build, points, square, made.rotation, made.scale)


def _realized(
    build: NodeBuilder,
    points: bpy.types.NodeSocket,
    hull: bpy.types.NodeSocket,
    rotation: bpy.types.NodeSocket,
    radii: bpy.types.NodeSocket,
) -> bpy.types.NodeSocket:
    """A hull around each splat. Realised, because one mesh draws faster than many instances."""
    instances = build.node(
        "GeometryNodeInstanceOnPoints",
        {"Points": points, "Instance": hull, "Rotation": rotation, "Scale": radii},
    ).outputs[0]
    instances = _without_values(build, instances)  # else they come six times over, for the corners
    return build.node("GeometryNodeRealizeInstances", {"Geometry": instances}).outputs[0]


def _octahedron(build: NodeBuilder, vertices: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Smooth, with `splat_place`.

    It begins as a vertex of the object's mesh: so it has the name of the colours that Solid view shows.
    """
    index = build.node("GeometryNodeInputIndex").outputs[0]
    first = _without(build, vertices, build.math("GREATER_THAN", index, 0.5))
    # Its faces touch the unit sphere: corners lie at √3.
    sphere = build.node("GeometryNodeMeshUVSphere", {"Segments": 4, "Rings": 2, "Radius": CORNER}).outputs[
        "Mesh"
    ]
    smooth = build.node("GeometryNodeSetShadeSmooth", {0: sphere}).outputs[0]
    join = build.node("GeometryNodeJoinGeometry", {0: smooth})
    build.put(join.inputs[0], _without_values(build, first))  # linked last, joined first
    hull = _without(build, join.outputs[0], build.math("LESS_THAN", index, 0.5))
    place = build.node("GeometryNodeInputPosition").outputs[0]
    return build.stored(hull, "splat_place", "FLOAT_VECTOR", place)


def _without(
    build: NodeBuilder, geometry: bpy.types.NodeSocket, chosen: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    node = build.node(
        "GeometryNodeDeleteGeometry", {"Geometry": geometry, "Selection": chosen}, domain="POINT"
    )
    return node.outputs["Geometry"]


def _without_values(build: NodeBuilder, geometry: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    for pattern in ("f_*", "rot_*", "scale_*", "opacity", "trellis_splats_*"):
        node = build.node(
            "GeometryNodeRemoveAttribute", {"Geometry": geometry, "Name": pattern}, pattern_mode="WILDCARD"
        )
        geometry = node.outputs[0]
    return geometry


def _attribute(build: NodeBuilder, name: str, kind: str = "FLOAT") -> bpy.types.NodeSocket:
    node = build.node("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=kind)
    return next(socket for socket in node.outputs if socket.enabled)
