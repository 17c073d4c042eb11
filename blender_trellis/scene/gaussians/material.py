"""The material that draws a splat within its hull: its colour, as opaque as the ray finds it.

Along a ray a Gaussian is greatest where the ray passes its centre nearest, in the frame in which the
Gaussian is round. That is the opacity of a splat at a pixel (Kerbl et al., 2023).
"""

import bpy

from ..materials import COLOR_ATTRIBUTE, empty_material
from .node_builder import NodeBuilder
from .nodes import span


def splat_material(name: str, mean_color: tuple[float, float, float]) -> bpy.types.Material:
    """Emission of the attribute "Color": splats hold the light they were seen in, so none is added."""
    material, _ = empty_material(name)
    build = NodeBuilder(material.node_tree)
    color = build.node("ShaderNodeAttribute", attribute_name=COLOR_ATTRIBUTE).outputs["Color"]
    emission = build.node("ShaderNodeEmission", {"Color": color}).outputs[0]
    clear = build.node("ShaderNodeBsdfTransparent").outputs[0]
    mix = build.node("ShaderNodeMixShader", {0: _share(build), 1: clear, 2: emission}).outputs[0]
    build.node("ShaderNodeOutputMaterial", {"Surface": mix})
    material.diffuse_color = (*mean_color, 1.0)
    material.surface_render_method = "DITHERED"  # sorts each pixel's splats; "BLENDED" sorts objects only
    material.cycles.emission_sampling = "NONE"  # millions of faces are no lamps to aim at
    return material


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
    marked = _attribute(build, "splat_opacity", "Fac")
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
