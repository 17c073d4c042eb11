"""How large a pixel of the render is: values in a node tree that drivers take from the scene and its camera.

Their expressions are simple ones, which Blender evaluates without Python. So files keep them, and they work
where this add-on is not installed and where scripts may not run.
"""

from dataclasses import dataclass

import bpy

from .node_builder import NodeBuilder

# Each variable's path from the scene, and its value where the scene has no camera.
_PATHS = {
    "t": ("camera.data.type", 9),  # 0 perspective, 1 orthographic, others panoramas
    "l": ("camera.data.lens", 1),
    "o": ("camera.data.ortho_scale", 1),
    "f": ("camera.data.sensor_fit", 0),  # 0 to the longer side, 1 to the width, 2 to the height
    "w": ("camera.data.sensor_width", 1),
    "h": ("camera.data.sensor_height", 1),
    "x": ("render.resolution_x", 1),
    "y": ("render.resolution_y", 1),
    "q": ("render.resolution_percentage", 100),
    "a": ("render.pixel_aspect_x", 1),
    "b": ("render.pixel_aspect_y", 1),
}
# The last part is how many pixels wide that is which the sensor, or the orthographic scale, is laid over.
_WIDTH = (
    "(o if t == 1 else (h if f == 2 else w) / l if t == 0 else 0)"
    " * 100 / q / (x if f == 1 else y * b / a if f == 2 else max(x, y * b / a))"
)
_VALUES = {
    "pixel_width": (_WIDTH, "tlofwhxyqab"),
    "pixel_aspect": ("b / a", "ab"),
    "parallel_view": ("t == 1", "t"),
}


@dataclass(frozen=True)
class Pixel:
    """width, height: in the scene's units, at the depth of 1 of a perspective camera, at any depth of an
    orthographic one (`parallel` is 1 there, else 0). 0 for panoramas and without a camera.
    """

    width: bpy.types.NodeSocket
    height: bpy.types.NodeSocket
    parallel: bpy.types.NodeSocket


def add_pixel(build: NodeBuilder) -> Pixel:
    """The nodes that hold it, made once in a tree."""
    width, aspect, parallel = (_value(build, name) for name in _VALUES)
    return Pixel(width, build.math("MULTIPLY", width, aspect), parallel)


def _value(build: NodeBuilder, name: str) -> bpy.types.NodeSocket:
    if name in build.tree.nodes:
        return build.tree.nodes[name].outputs[0]
    node = build.node("ShaderNodeValue", name=name, label=name)
    socket = node.outputs[0]
    socket.default_value = 0.0
    driver = socket.driver_add("default_value").driver
    expression, used = _VALUES[name]
    for letter in used:
        variable = driver.variables.new()
        variable.name, variable.type = letter, "CONTEXT_PROP"
        target = variable.targets[0]
        target.context_property = "ACTIVE_SCENE"
        target.data_path, target.fallback_value = _PATHS[letter]
        target.use_fallback_value = True
    driver.expression = expression
    return socket
