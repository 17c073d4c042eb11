"""The part of the splats' geometry nodes that draws each splat on a card: a rectangle around what the active
camera sees of it, parallel to the picture at the depth of its centre.

Rasterisers draw splats in the order of their centres' depths. Along any ray of the camera cards lie in just
that order, and a ray meets each of them once.
"""

from dataclasses import dataclass

from bpy.types import NodeSocket

from .node_builder import NodeBuilder

# A splat further from the camera's axis than this (cosine) has a card across its own direction: panoramas
# see what lies beside and behind the camera.
_WIDE = 0.4


@dataclass(frozen=True)
class Camera:
    """The active camera in the object's frame: where it is, and the axes of its picture."""

    location: NodeSocket
    right: NodeSocket
    up: NodeSocket


def active_camera(build: NodeBuilder) -> Camera:
    """As the scene has it at the frame that is rendered."""
    camera = build.node("GeometryNodeInputActiveCamera").outputs[0]
    info = build.node("GeometryNodeObjectInfo", {"Object": camera}, transform_space="RELATIVE").outputs
    axes = [
        build.node("FunctionNodeTransformDirection", {"Direction": axis, "Transform": info["Transform"]})
        for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    ]
    return Camera(info["Location"], *(axis.outputs[0] for axis in axes))


def card(build: NodeBuilder, axes: list[NodeSocket]) -> tuple[NodeSocket, NodeSocket]:
    """Rotation and scale of a square of side 2 that then covers an ellipsoid of these half-axes.

    The ellipsoid's shadow along the view is an ellipse, whose matrix has the card's sides as eigenvectors.
    """
    camera = active_camera(build)
    position = build.node("GeometryNodeInputPosition").outputs[0]
    view = build.vector("NORMALIZE", build.vector("SUBTRACT", position, camera.location))
    right, up, normal = _picture_axes(build, camera, view)
    shadows = []
    for axis in axes:
        slide = build.math(
            "DIVIDE", build.vector("DOT_PRODUCT", axis, normal), build.vector("DOT_PRODUCT", view, normal)
        )
        shadows.append(build.vector("SUBTRACT", axis, build.vector("SCALE", view, slide)))
    across, along = (
        build.combined(*(build.vector("DOT_PRODUCT", shadow, side) for shadow in shadows))
        for side in (right, up)
    )
    first, mixed, second = (
        build.vector("DOT_PRODUCT", *pair) for pair in ((across, across), (across, along), (along, along))
    )
    mean = build.math("MULTIPLY", build.math("ADD", first, second), 0.5)
    half = build.math("MULTIPLY", build.math("SUBTRACT", first, second), 0.5)
    spread = build.math(
        "SQRT", build.math("ADD", build.math("MULTIPLY", half, half), build.math("MULTIPLY", mixed, mixed))
    )
    angle = build.math("MULTIPLY", build.math("ARCTAN2", mixed, half), 0.5)
    side = build.vector(
        "ADD",
        build.vector("SCALE", right, build.math("COSINE", angle)),
        build.vector("SCALE", up, build.math("SINE", angle)),
    )
    rotation = build.node(
        "FunctionNodeAxesToRotation",
        {0: normal, 1: side},
        primary_axis="Z",
        secondary_axis="X",
    ).outputs[0]
    least = build.math("MAXIMUM", build.math("SUBTRACT", mean, spread), 0.0)
    lengths = (build.math("SQRT", value) for value in (build.math("ADD", mean, spread), least))
    return rotation, build.combined(*lengths, 1.0)


def _picture_axes(
    build: NodeBuilder, camera: Camera, view: NodeSocket
) -> tuple[NodeSocket, NodeSocket, NodeSocket]:
    """Unit vectors: two along the card, and across it."""
    ahead = build.vector("NORMALIZE", build.vector("CROSS_PRODUCT", camera.up, camera.right))
    straight = build.math("GREATER_THAN", build.vector("DOT_PRODUCT", ahead, view), _WIDE)
    normal = build.choice(straight, view, ahead, "VECTOR")
    right = build.vector("NORMALIZE", build.vector("CROSS_PRODUCT", normal, camera.up))
    return right, build.vector("CROSS_PRODUCT", right, normal), normal
