"""What needs a window: putting an asset into the scene that is open, and redrawing."""

import math
from collections.abc import Callable, Generator, Sequence

import bpy
from mathutils import Matrix, Vector

from .asset import Asset
from .collection import asset_steps, put_asset
from .find_asset import find_asset, in_use
from .replace import finish, fits, replace_steps
from .standing import AT_CURSOR, Standing

SENSOR = 72.0  # millimetres, of 3D views
MARGIN = 1.1


def has_to_wait(edits: str) -> str:
    """Why the result of an edit of this asset cannot go into the scene now; empty where it can."""
    collection = find_asset(edits)
    if collection is None or not in_use(collection):
        return ""
    return f'The edit of "{collection.name}" is done: leave Edit, Sculpt or Paint Mode to receive it.'


def place_steps(
    asset: Asset,
    edits: str = "",
    keeps_former: bool = False,
    matrix: Sequence[float] | None = None,
    standing: Standing = AT_CURSOR,
    frames: bool = False,
    then: Callable[[bpy.types.Collection], None] = lambda collection: None,
) -> Generator[None, None, str]:
    """Puts the asset into the scene that is open at the end, as one undo step; gives what is to tell, or ""
    for nothing. Between its steps Blender may be used; closed before its end, it leaves nothing behind.

    edits: the id of the asset that it is an edit of. matrix: 16 numbers, row by row. frames: whether 3D views
    turn to a new one. then: what else is done to a new one in the same step.
    """
    where = cube_matrix(asset.frame, matrix)
    collection = None
    changed = _to_change(edits, asset)
    if changed is not None:
        yield from replace_steps(changed, asset, keeps_former)
    else:
        for made in asset_steps(asset):
            collection = made
            yield
    window = bpy.context.window or next(iter(bpy.context.window_manager.windows), None)
    if window is None or bpy.app.background:  # where nobody undoes anything
        scene, view_layer = bpy.context.scene, bpy.context.view_layer
        return _put(collection, asset, edits, where, standing, scene, view_layer, then)
    with bpy.context.temp_override(window=window):  # timers run without one
        told = _put(collection, asset, edits, where, standing, window.scene, window.view_layer, then)
        bpy.ops.ed.undo_push(message=f"TRELLIS: {asset.name}"[:60])
        if frames and (told or not edits):
            textured = asset.finished is not None and "texture" in asset.finished
            _frame_selected(window, "TEXTURE" if textured else "VERTEX")
    return told


def as_one_step(change: Callable[[], None], name: str) -> None:
    """Changes the scene that is open now, as one undo step called `name`."""
    window = bpy.context.window or next(iter(bpy.context.window_manager.windows), None)
    if window is None or bpy.app.background:
        change()
        return
    with bpy.context.temp_override(window=window):
        change()
        bpy.ops.ed.undo_push(message=f"TRELLIS: {name}"[:60])


def finish_in_place(name: str, asset: Asset) -> str:
    """Gives the asset with this id its finished mesh; what there is to tell where it is gone, or ""."""
    collection = find_asset(name)
    if collection is None:
        return f'"{asset.name}" was removed while it was finished; select it again and press Finish Asset.'
    finish(collection, asset)
    return ""


def _to_change(edits: str, asset: Asset) -> bpy.types.Collection | None:
    """The asset that a result changes, None where it is to stand beside what is there."""
    collection = find_asset(edits)
    return collection if collection is not None and fits(collection, asset) else None


def _put(
    made: bpy.types.Collection | None,
    asset: Asset,
    edits: str,
    matrix: Matrix | None,
    standing: Standing,
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    then: Callable[[bpy.types.Collection], None],
) -> str:
    if made is None:
        return ""  # it has changed the one that is there
    then(put_asset(made, asset, scene, view_layer, matrix, standing))
    if not edits:
        return ""
    return (
        f'"{asset.name}" was removed, is linked from another file, or has changed since the edit began: the '
        "result was added beside what is there."
    )


def cube_matrix(frame: tuple[float, float, float, float], rows: Sequence[float] | None) -> Matrix | None:
    """The world matrix of the asset's unit cube, from that of the frame which was sent."""
    if rows is None:
        return None
    scale, *offset = frame
    sent = Matrix([rows[place : place + 4] for place in range(0, 16, 4)])
    return sent @ Matrix.Translation(offset) @ Matrix.Scale(scale, 4)


def _frame_selected(window: bpy.types.Window, colors: str) -> None:
    """Turns the window's 3D views to what is selected, but for those that look through a camera.

    Solid views that would draw it in one colour show its `colors`, those of texture or vertices.
    """
    for area in window.screen.areas:
        space = area.spaces.active
        if area.type == "VIEW_3D" and space.shading.color_type in (
            "MATERIAL",
            "SINGLE",
            "OBJECT",
            "RANDOM",
            "VERTEX",
        ):
            space.shading.color_type = colors
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


def redraw(views: bool = False) -> None:
    """Redraws where the add-on has something to show: sidebars, and if asked the 3D views they lie on."""
    for window in bpy.context.window_manager.windows:
        if not len(window.modal_operators):  # which may have said something there
            window.workspace.status_text_set(None)  # redraws the status bar
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
            elif area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI" or (views and region.type == "WINDOW"):
                        region.tag_redraw()
