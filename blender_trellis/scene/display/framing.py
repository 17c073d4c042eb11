"""Turns 3D views to what they are to show, clear of the bars on them."""

import math
from collections.abc import Sequence

import bpy
from mathutils import Vector

SENSOR = 72.0  # millimetres, of 3D views
MARGIN = 1.1


def frame_selected(window: bpy.types.Window) -> None:
    """Turns the window's 3D views to what is selected, but for those that look through a camera."""
    for area in window.screen.areas:
        space = area.spaces.active
        if area.type != "VIEW_3D" or space.region_3d.view_perspective == "CAMERA" or space.local_view:
            continue
        region = next(region for region in area.regions if region.type == "WINDOW")
        with bpy.context.temp_override(window=window, area=area, region=region):
            if bpy.ops.view3d.view_selected.poll() and bpy.context.mode == "OBJECT":
                bpy.ops.view3d.view_selected()
                _clear_of_sidebars(area)


def frame_points(points: Sequence[Vector]) -> None:
    """Turns 3D views to points that no object stands for, but for those that look through a camera or show
    some objects alone, and for windows where something is edited, sculpted or painted."""
    low = Vector(min(point[axis] for point in points) for axis in range(3))
    high = Vector(max(point[axis] for point in points) for axis in range(3))
    radius = (high - low).length / 2
    windows = [one for one in bpy.context.window_manager.windows if _is_in_object_mode(one)]
    for area in (area for window in windows for area in window.screen.areas):
        space = area.spaces.active
        if area.type != "VIEW_3D" or space.region_3d.view_perspective == "CAMERA" or space.local_view:
            continue
        region = next(region for region in area.regions if region.type == "WINDOW")
        sides = sorted((max(region.width, 1), max(region.height, 1)))
        half = SENSOR / 2 / space.lens * sides[0] / sides[1]  # tangent of half the smaller angle of view
        space.region_3d.view_location = (low + high) / 2
        space.region_3d.view_distance = MARGIN * radius * math.sqrt(1 + 1 / half**2)
        _clear_of_sidebars(area)


def _clear_of_sidebars(area: bpy.types.Area) -> None:
    """Moves what the area's view has been turned to from behind the sidebar and the toolbar on it."""
    if not bpy.context.preferences.system.use_region_overlap or area.spaces.active.region_quadviews:
        return
    view, lens = area.spaces.active.region_3d, area.spaces.active.lens
    region = next(region for region in area.regions if region.type == "WINDOW")
    sides = {"LEFT": 0, "RIGHT": 0}
    for bar in area.regions:
        if bar.type in ("UI", "TOOLS") and bar.alignment in sides and bar.width > 1:  # 1 where it is hidden
            sides[bar.alignment] += bar.width
    farther, shift = uncovered(region.width, region.height, sides["LEFT"], sides["RIGHT"])
    view.view_distance *= farther
    width = view.view_distance * SENSOR / lens * region.width / max(region.width, region.height)
    view.view_location += view.view_rotation @ Vector((shift * width, 0.0, 0.0))


def uncovered(width: int, height: int, left: int, right: int) -> tuple[float, float]:
    """How a view of `width` and `height` pixels changes, so that what fits it and is in its middle fits the
    part that bars of `left` and `right` pixels leave free: how many times as far it looks from, and how far
    it moves to its right, in widths of the view."""
    free = max(width - left - right, width / 4)  # of a view that bars all but cover
    return max(min(width, height) / free, 1.0), (right - left) / 2 / width


def _is_in_object_mode(window: bpy.types.Window) -> bool:
    active = window.view_layer.objects.active
    return active is None or active.mode == "OBJECT"
