"""The part of the splats' geometry nodes that computes each splat's colour as the active camera sees it.

In display values it is 0.5 + Σ basis · coefficient; of `f_rest_*` the coefficients of red come first.
"""

from collections.abc import Callable

import bpy

from ...splats.harmonics import BASIS, COUNTS, DC
from ..materials import COLOR_ATTRIBUTE
from .cards import seen_along
from .node_builder import NodeBuilder

SHOWN_COLOR = "splat_color"  # the attribute that the material shows


def add_color(
    build: NodeBuilder, geometry: bpy.types.NodeSocket, degree: int, encoded: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    """Stores colours on the points, with harmonics up to that degree: `Color` for Solid view, which takes it
    for linear whatever the scene's view transform is, and what the material shows: linear, or as displays
    have it.
    """
    display = build.vector("MULTIPLY_ADD", _triple(build, "f_dc_{}", (0, 1, 2)), (DC,) * 3, (0.5,) * 3)
    count = COUNTS[degree]
    if degree:
        product = _products(build, seen_along(build))
    for place in range(count):
        value = None
        for factor, axes in BASIS[place]:
            term = build.math("MULTIPLY", product(axes), factor)
            value = term if value is None else build.math("ADD", value, term)
        channels = (place, count + place, 2 * count + place)
        share = build.vector("SCALE", _triple(build, "f_rest_{}", channels), value)
        display = build.vector("ADD", display, share)
    parts = [build.math("ADD", part, 0.0, clamp=True) for part in build.separated(display)]
    color = build.combined(*(_linear(build, part) for part in parts))
    shown = build.choice(encoded, color, build.combined(*parts), "VECTOR")
    # Bytes are enough for Solid view, and both colours come once for each corner of a hull.
    for name, kind, value in (
        (COLOR_ATTRIBUTE, "BYTE_COLOR", color),
        (SHOWN_COLOR, "FLOAT_VECTOR", shown),
    ):
        geometry = build.stored(geometry, name, kind, value)
    return geometry


def _triple(build: NodeBuilder, pattern: str, places: tuple[int, ...]) -> bpy.types.NodeSocket:
    """Three attributes as one vector."""
    nodes = [
        build.node("GeometryNodeInputNamedAttribute", {"Name": pattern.format(place)}, data_type="FLOAT")
        for place in places
    ]
    return build.combined(*(next(socket for socket in node.outputs if socket.enabled) for node in nodes))


def _products(build: NodeBuilder, direction: bpy.types.NodeSocket) -> Callable[[str], bpy.types.NodeSocket]:
    """Gives the product of the direction's components by their letters, each node made once."""
    made = dict(zip("xyz", build.separated(direction), strict=True))

    def product(axes: str) -> bpy.types.NodeSocket:
        if axes not in made:
            made[axes] = build.math("MULTIPLY", product(axes[:-1]), made[axes[-1]])
        return made[axes]

    return product


def _linear(build: NodeBuilder, value: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """The sRGB transfer curve undone, of a value in [0, 1]."""
    above = build.math("POWER", build.math("DIVIDE", build.math("ADD", value, 0.055), 1.055), 2.4)
    below = build.math("DIVIDE", value, 12.92)
    return build.choice(build.math("GREATER_THAN", value, 0.04045), below, above)
