"""What a 3D view shows, without overlays and on a transparent background."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ..faults import Fault
from ..scene.find_asset import objects_in
from .packed import packed_pixels

NAME = "Viewport"
FINDING_SIDE = 512
SIDE = 1024
MARGIN = 1.1


def viewport_picture(context: bpy.types.Context, selected_only: bool) -> bpy.types.Image:
    """The 3D view of the context as a packed image; of all objects, or of the selected ones alone.

    Fault where there is no view, or nothing to be seen in it.
    """
    region = (
        next((one for one in context.area.regions if one.type == "WINDOW"), None) if context.area else None
    )
    if bpy.app.background or region is None or context.area.type != "VIEW_3D":
        raise Fault("There is no 3D view to take a picture of: use a Blender with a window.")
    with ExitStack() as stack:
        stack.enter_context(_plain_view(context.area.spaces.active, context.scene))
        if selected_only:
            stack.enter_context(_alone(context.view_layer, context.selected_objects))
        pixels = _drawn(context, region)
    if not pixels[..., 3].any():
        raise Fault("The 3D view shows no object: move the view until it does.")
    return packed_pixels(NAME, pixels)


def straight(pixels: np.ndarray) -> np.ndarray:
    """Colors (H, W, 4) uint8 that were weighed by their alpha, unweighed; clear pixels become black."""
    alpha = pixels[..., 3:].astype(np.float32) / 255
    colors = np.divide(
        pixels[..., :3], alpha, out=np.zeros(pixels[..., :3].shape, np.float32), where=alpha > 0
    )
    return np.concatenate([np.clip(np.round(colors), 0, 255).astype(np.uint8), pixels[..., 3:]], axis=2)


def _drawn(context: bpy.types.Context, region: bpy.types.Region) -> np.ndarray:
    """The pixels (H, W, 4) uint8 of a square round what the view shows, the lowest row first."""
    scale = FINDING_SIDE / max(region.width, region.height)
    size = max(1, round(region.width * scale)), max(1, round(region.height * scale))
    projection = context.area.spaces.active.region_3d.window_matrix
    found = _draw(context, region, projection, size)
    if not found[..., 3].any():
        return found
    return _draw(context, region, square_round(found[..., 3], MARGIN) @ projection, (SIDE, SIDE))


def square_round(alpha: np.ndarray, margin: float) -> Matrix:
    """What brings a square round the visible pixels (H, W) to the borders of device coordinates."""
    (height, width), (rows, columns) = alpha.shape, np.nonzero(alpha)
    left, right, low, high = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    side = margin * max(right - left, high - low)
    wide, tall = width / side, height / side
    x, y = (left + right) / width - 1, (low + high) / height - 1
    return Matrix(((wide, 0, 0, -x * wide), (0, tall, 0, -y * tall), (0, 0, 1, 0), (0, 0, 0, 1)))


def _draw(
    context: bpy.types.Context, region: bpy.types.Region, projection: Matrix, size: tuple[int, int]
) -> np.ndarray:
    """The view's pixels (H, W, 4) uint8, seen with a projection of its own; size: (W, H)."""
    import gpu

    space = context.area.spaces.active
    target = gpu.types.GPUOffScreen(*size)
    try:
        target.draw_view3d(
            context.scene,
            context.view_layer,
            space,
            region,
            space.region_3d.view_matrix,
            projection,
            do_color_management=True,
            draw_background=False,
        )
        buffer = target.texture_color.read()
    finally:
        target.free()
    buffer.dimensions = size[0] * size[1] * 4
    return straight(np.array(buffer, dtype=np.uint8).reshape(size[1], size[0], 4))


@contextmanager
def _plain_view(space: bpy.types.SpaceView3D, scene: bpy.types.Scene) -> Iterator[None]:
    """Without overlays and gizmos; drawn as material where only a path tracer would show it rendered."""
    renders = space.shading.type == "RENDERED" and "EEVEE" not in scene.render.engine
    changes: list[tuple[Any, str, Any]] = [
        (space.overlay, "show_overlays", False),
        (space, "show_gizmo", False),
    ]
    if renders:
        changes.append((space.shading, "type", "MATERIAL"))
    former = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in former:
            setattr(owner, name, value)


@contextmanager
def _alone(view_layer: bpy.types.ViewLayer, objects: list[bpy.types.Object]) -> Iterator[None]:
    """Only these objects, what hangs on them, and lights are to be seen."""
    kept = {one for root in objects for one in (root, *root.children_recursive)}
    others = [
        one
        for one in objects_in(view_layer)
        if one not in kept and one.type != "LIGHT" and not one.hide_get(view_layer=view_layer)
    ]
    for one in others:
        one.hide_set(True, view_layer=view_layer)
    try:
        view_layer.update()
        yield
    finally:
        for one in others:
            one.hide_set(False, view_layer=view_layer)
