"""The part of the splats' geometry nodes that draws each splat on a card: a rectangle around what the active
camera sees of it, parallel to the picture at the depth of its centre.

Rasterisers draw splats in the order of their centres' depths. Along any ray of the camera cards lie in just
that order, and a ray meets each of them once. On its card a splat is the ellipse that rasterisers draw: its
covariance projected by the perspective at its centre, and widened (Zwicker et al., 2001).
"""

from dataclasses import dataclass

from bpy.types import NodeSocket

from .node_builder import NodeBuilder, Value
from .pixels import add_pixel

# A splat further from the camera's axis than this (cosine) has a card across its own direction: panoramas
# see what lies beside and behind the camera.
_WIDE = 0.4
_POLAR_STEPS = 7  # enough where one axis is a hundred times as long as another
_AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Card:
    """Rotation and scale of a square of side 2 that then is the card, and the direction across it."""

    rotation: NodeSocket
    scale: NodeSocket
    normal: NodeSocket


@dataclass(frozen=True)
class Camera:
    """The active camera as it sees a splat, in the object's frame.

    view: the direction from the camera to the splat. steps: from the splat's centre to what the next pixel
    shows at its depth, to the right and up; of no length in panoramas. ahead: across the picture. straight:
    the cosine of the angle in the scene between the view and the camera's axis.
    """

    view: NodeSocket
    steps: list[NodeSocket]
    ahead: NodeSocket
    straight: NodeSocket


def seen_along(build: NodeBuilder) -> NodeSocket:
    """The direction in which the active camera sees a splat, turned and mirrored back as the object was, but
    not stretched: so harmonics are seen where Object › Apply puts them.
    """
    view = _view(build, _transform(build, "RELATIVE"), add_pixel(build).parallel)
    item = build.node("GeometryNodeSelfObject").outputs[0]
    whole = build.node("GeometryNodeObjectInfo", {"Object": item}, transform_space="ORIGINAL").outputs[
        "Transform"
    ]
    inputs: dict[str | int, Value] = {"Direction": view, "Transform": whole}
    in_world = build.node("FunctionNodeTransformDirection", inputs).outputs[0]
    back = [build.vector("DOT_PRODUCT", axis, in_world) for axis in _unstretched(build, whole)]
    return build.vector("NORMALIZE", build.combined(*back))


def _unstretched(build: NodeBuilder, whole: NodeSocket) -> list[NodeSocket]:
    """The orthogonal matrix nearest to a transform, as three columns: its polar factor (Higham, 1986)."""
    axes = [_turned(build, axis, whole) for axis in _AXES]
    size = build.vector("DOT_PRODUCT", axes[0], build.vector("CROSS_PRODUCT", axes[1], axes[2]))
    even = build.math("POWER", build.math("ABSOLUTE", size), -1 / 3)
    axes = [build.vector("SCALE", axis, even) for axis in axes]
    for _ in range(_POLAR_STEPS):  # the mean of the matrix and of its inverse, transposed
        duals = [build.vector("CROSS_PRODUCT", axes[place - 2], axes[place - 1]) for place in range(3)]
        half = build.math("DIVIDE", 0.5, build.vector("DOT_PRODUCT", axes[0], duals[0]))
        axes = [
            build.vector("ADD", build.vector("SCALE", axis, 0.5), build.vector("SCALE", dual, half))
            for axis, dual in zip(axes, duals, strict=True)
        ]
    return axes


def card(build: NodeBuilder, axes: list[NodeSocket], widening: NodeSocket) -> Card:
    """That of an ellipsoid of these half-axes, widened by so many times the step to the next pixel.

    The ellipsoid's shadow along the view is an ellipse, whose matrix has the card's sides as eigenvectors.
    """
    camera = _camera(build)
    right, up, normal = _picture_axes(build, camera)
    across = build.vector("DOT_PRODUCT", camera.view, normal)
    columns = []
    for axis in (*axes, *(build.vector("SCALE", step, widening) for step in camera.steps)):
        slide = build.math("DIVIDE", build.vector("DOT_PRODUCT", axis, normal), across)
        shadow = build.vector("SUBTRACT", axis, build.vector("SCALE", camera.view, slide))
        columns.append([build.vector("DOT_PRODUCT", shadow, side) for side in (right, up)])
    first, mixed, second = (
        _summed(build, [build.math("MULTIPLY", column[one], column[other]) for column in columns])
        for one, other in ((0, 0), (0, 1), (1, 1))
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
    return Card(rotation, build.combined(*lengths, 1.0), normal)


def _camera(build: NodeBuilder) -> Camera:
    """As the scene has it at the frame that is rendered."""
    pixel = add_pixel(build)
    into = _transform(build, "RELATIVE")
    place = build.node(
        "FunctionNodeTransformPoint",
        {
            "Vector": build.node("GeometryNodeInputPosition").outputs[0],
            "Transform": build.node("FunctionNodeInvertMatrix", {0: into}).outputs[0],
        },
    ).outputs[0]
    # Renders know no scale of cameras: it is taken out of the axes and of the depth.
    whole = _transform(build, "ORIGINAL")
    scales = [build.vector("LENGTH", _turned(build, axis, whole)) for axis in _AXES]
    place = build.vector("MULTIPLY", place, build.combined(*scales))
    depth = build.math("MULTIPLY", build.separated(place)[2], -1.0)
    straight = build.math("DIVIDE", depth, build.vector("LENGTH", place))
    far = build.choice(pixel.parallel, depth, 1.0)
    sides = [_turned(build, axis, into) for axis in _AXES[:2]]
    steps = [
        build.vector("SCALE", side, build.math("DIVIDE", build.math("MULTIPLY", size, far), scale))
        for side, size, scale in zip(sides, (pixel.width, pixel.height), scales[:2], strict=True)
    ]
    # In the frame of a mirrored object the cross product points behind the camera.
    across = build.vector("NORMALIZE", build.vector("CROSS_PRODUCT", sides[1], sides[0]))
    ahead = build.vector("FACEFORWARD", across, _turned(build, _AXES[2], into), across)
    straight = build.choice(pixel.parallel, straight, 1.0)
    return Camera(_view(build, into, pixel.parallel), steps, ahead, straight)


def _view(build: NodeBuilder, into: NodeSocket, parallel: NodeSocket) -> NodeSocket:
    location = build.node("FunctionNodeTransformPoint", {"Transform": into}).outputs[0]
    position = build.node("GeometryNodeInputPosition").outputs[0]
    straight = _turned(build, (0.0, 0.0, -1.0), into)
    return build.vector(
        "NORMALIZE",
        build.choice(parallel, build.vector("SUBTRACT", position, location), straight, "VECTOR"),
    )


def _transform(build: NodeBuilder, space: str) -> NodeSocket:
    """Leads from the active camera's frame to the object's or the world's."""
    camera = build.node("GeometryNodeInputActiveCamera").outputs[0]
    return build.node("GeometryNodeObjectInfo", {"Object": camera}, transform_space=space).outputs[
        "Transform"
    ]


def _summed(build: NodeBuilder, values: list[NodeSocket]) -> NodeSocket:
    total, *others = values
    for value in others:
        total = build.math("ADD", total, value)
    return total


def _turned(build: NodeBuilder, axis: tuple[float, float, float], into: NodeSocket) -> NodeSocket:
    return build.node("FunctionNodeTransformDirection", {"Direction": axis, "Transform": into}).outputs[0]


def _picture_axes(build: NodeBuilder, camera: Camera) -> tuple[NodeSocket, NodeSocket, NodeSocket]:
    """Unit vectors: two along the card, and across it."""
    straight = build.math("GREATER_THAN", camera.straight, _WIDE)
    normal = build.choice(straight, camera.view, camera.ahead, "VECTOR")
    upright = _turned(build, _AXES[1], _transform(build, "RELATIVE"))
    right = build.vector("NORMALIZE", build.vector("CROSS_PRODUCT", normal, upright))
    return right, build.vector("CROSS_PRODUCT", right, normal), normal
