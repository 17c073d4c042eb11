"""The material that draws a splat within its hull: its colour, as opaque as the ray finds it.

Along a ray a Gaussian is greatest where the ray passes its centre nearest, in the frame in which the
Gaussian is round. That is the opacity of a splat at a pixel (Kerbl et al., 2023).
"""

import bpy

from ..materials import COLOR_ATTRIBUTE, empty_material
from .color_nodes import SHOWN_COLOR
from .node_builder import NodeBuilder
from .nodes import span

OPACITY = "splat_opacity"  # the attribute by which the nodes tell how opaque a splat is


def splat_material(name: str, mean_color: tuple[float, float, float]) -> bpy.types.Material:
    """Emission of the splats' own colours: splats hold the light they were seen in, so none is added."""
    material, _ = empty_material(name)
    build = NodeBuilder(material.node_tree)
    color = build.node("ShaderNodeAttribute", attribute_name=SHOWN_COLOR).outputs["Color"]
    emission = build.node("ShaderNodeEmission", {"Color": color}).outputs[0]
    build.node("ShaderNodeOutputMaterial", {"Surface": _seen_through(build, emission)})
    material.diffuse_color = (*mean_color, 1.0)
    _use_for_splats(material)
    return material


def renew_material(material: bpy.types.Material) -> bool:
    """Lets a material of a former version draw splats as `splat_material` does; whatever else was done to it
    stays. False where it is not this add-on's, or not to be changed: then nothing is.
    """
    tree = material.node_tree
    if tree is None or not material.is_editable:
        return False
    marked = [node for node in tree.nodes if node.type == "ATTRIBUTE" and node.attribute_name == OPACITY]
    if marked:
        root, is_current = _share_in(tree)
        if root is not None and not is_current:
            targets = [link.to_socket for link in root.outputs[0].links]
            share = _share(NodeBuilder(tree))
            for target in targets:
                tree.links.new(share, target)
            _remove_unused(tree, root)
        if root is not None:
            _show_own_color(tree)
        return root is not None
    # Version 1 drew solid ellipsoids.
    output = tree.get_output_node("ALL")
    colored = any(node.type == "ATTRIBUTE" and node.attribute_name == COLOR_ATTRIBUTE for node in tree.nodes)
    if output is None or not colored or not output.inputs["Surface"].links:
        return False
    surface = output.inputs["Surface"]
    build = NodeBuilder(tree)
    build.put(surface, _seen_through(build, surface.links[0].from_socket))
    _use_for_splats(material)
    _show_own_color(tree)
    return True


def _show_own_color(tree: bpy.types.NodeTree) -> None:
    """Up to version 5 materials read `Color`, which was as displays have it where splats were so mixed."""
    for node in tree.nodes:
        if node.type == "ATTRIBUTE" and node.attribute_name == COLOR_ATTRIBUTE:
            node.attribute_name = SHOWN_COLOR


def _use_for_splats(material: bpy.types.Material) -> None:
    material.surface_render_method = "DITHERED"  # sorts each pixel's splats; "BLENDED" sorts objects only
    material.cycles.emission_sampling = "NONE"  # millions of faces are no lamps to aim at


def _seen_through(build: NodeBuilder, shader: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """The shader, as opaque as the ray finds the splat."""
    clear = build.node("ShaderNodeBsdfTransparent").outputs[0]
    return build.node("ShaderNodeMixShader", {0: _share(build), 1: clear, 2: shader}).outputs[0]


def _share_in(tree: bpy.types.NodeTree) -> tuple[bpy.types.Node | None, bool]:
    """The last node of what `_share` made in the tree, None where there is none, and whether it is as now.

    That is 1 - √(…) up to version 2, 1 - (…)^(…) with a card's exponent since.
    """
    for node in tree.nodes:
        if node.type != "MATH" or node.operation != "SUBTRACT" or node.inputs[0].links:
            continue
        left = node.inputs[1].links[0].from_node if node.inputs[1].links else None
        if left is None or left.type != "MATH" or node.inputs[0].default_value != 1.0:
            continue
        if left.operation == "SQRT":
            return node, False
        powers = left.inputs[1].links if left.operation == "POWER" else ()
        if any(getattr(link.from_node, "operation", "") == "MULTIPLY_ADD" for link in powers):
            return node, True
    return None, False


def _remove_unused(tree: bpy.types.NodeTree, last: bpy.types.Node) -> None:
    """Removes a node that leads nowhere, and those before it that then lead nowhere."""
    before = [link.from_node for socket in last.inputs for link in socket.links]
    tree.nodes.remove(last)
    for node in dict.fromkeys(before):
        if not any(socket.links for socket in node.outputs):
            _remove_unused(tree, node)


def _share(build: NodeBuilder) -> bpy.types.NodeSocket:
    """The share of the splat's colour at this side of its hull.

    A ray meets the hull twice. Half of the opacity lies at each side, (1 - share)² = 1 - opacity, so that
    splats that overlap are mixed about as their centres lie. Opacity above 1 marks a solid hull, below 0 a
    card, which a ray meets once.
    """
    incoming = build.node("ShaderNodeNewGeometry").outputs["Incoming"]
    ray = build.node(
        "ShaderNodeVectorTransform",
        {0: incoming},
        vector_type="VECTOR",
        convert_from="WORLD",
        convert_to="OBJECT",
    ).outputs[0]
    ray = build.combined(
        *(build.vector("DOT_PRODUCT", _attribute(build, f"splat_{axis}"), ray) for axis in "xyz")
    )
    moment = build.vector("CROSS_PRODUCT", _attribute(build, "splat_place"), ray)
    distance = build.math(
        "DIVIDE", build.vector("DOT_PRODUCT", moment, moment), build.vector("DOT_PRODUCT", ray, ray)
    )
    marked = _attribute(build, OPACITY, "Fac")
    peak = build.math("ABSOLUTE", marked)
    # peak · exp(-r²/2), where the splat's own frame has its end at 1.
    fall = build.math("POWER", span(build, peak), build.math("MULTIPLY", distance, -1.0))
    opacity = build.math("MAXIMUM", build.math("MULTIPLY", peak, fall), build.math("SUBTRACT", peak, 1.0))
    left = build.math("SUBTRACT", 1.0, build.math("MINIMUM", opacity, 1.0), clamp=True)
    part = build.math("MULTIPLY_ADD", build.math("LESS_THAN", marked, 0.0), 0.5, 0.5)
    left = build.math("POWER", left, part)
    return build.math("SUBTRACT", 1.0, left)


def _attribute(build: NodeBuilder, name: str, output: str = "Vector") -> bpy.types.NodeSocket:
    # Not the Color Attribute node, which reads colours only.
    return build.node("ShaderNodeAttribute", attribute_name=name).outputs[output]
