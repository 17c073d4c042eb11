"""Large sets of splats become points while a 3D view moves, and are drawn whole again once it rests.

While it moves the objects are displayed as their bounds, which neither evaluates nor uploads them anew. What
they were displayed as is kept with them: nothing but the object itself says whether it is in that state.
"""

import time

import bpy
import gpu

from ...app_handlers import hook, unhook
from ...backend_settings import backend_settings
from ...scene.find_asset import is_edited
from ...scene.gaussians.object import is_gaussian, splats_of
from .points import draw_points, point_batch

MANY = 100_000  # splats in sight, from which on a view shows points
REST = 0.3  # seconds without a move after which splats are drawn again
PIXELS = 2.0
SHOWN_AS = "trellis_shown_as"  # on an object whose points are drawn: its own display type


class _Memory:
    """What each view showed last, and the points on the graphics card."""

    def __init__(self):
        self.views: dict[int, tuple[float, ...]] = {}
        self.is_moving = False  # whether one was drawn from elsewhere since the last tick
        self.moved = 0.0  # when a tick last found it so: a redraw itself may take longer than a rest
        self.points: dict[int, tuple[object, gpu.types.GPUBatch]] = {}


_memory = _Memory()
_handle: object = None  # of the drawing; these two are this module's only state


def begin() -> None:
    """On registration. Without a window no view moves."""
    global _handle
    if bpy.app.background:
        return
    _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")
    hook(_show_splats, _moments())


def end() -> None:
    """On unregistration."""
    global _handle, _memory
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
        unhook(_show_splats, _moments())
        _show_splats()
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    _handle, _memory = None, _Memory()


def _moments() -> tuple[list, ...]:
    """When objects must be as they are: a file keeps them, but for one that Blender saves by itself, and a
    step of undo may bring the other state back.
    """
    handlers = bpy.app.handlers
    return handlers.save_pre, handlers.load_post, handlers.undo_post, handlers.redo_post


def _draw() -> None:
    context = bpy.context
    _note_move(context)
    if not bpy.app.timers.is_registered(_tick):
        return  # no view moves, and large scenes need not be searched at every redraw
    for item in _in_sight(context):
        if SHOWN_AS in item:
            draw_points(_points_of(item), item.matrix_world, PIXELS)


def _in_sight(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The splats that a view may show as points: not while they are edited, when their meshes hold none."""
    return [item for item in context.visible_objects if is_gaussian(item) and not is_edited(item)]


def _note_move(context: bpy.types.Context) -> None:
    shading = context.space_data.shading.type
    if shading == "RENDERED" and context.engine == "CYCLES":
        return  # which begins anew with every move, whatever it draws
    view = tuple(value for row in context.region_data.perspective_matrix for value in row)
    before = _memory.views.get(context.region.as_pointer())
    _memory.views[context.region.as_pointer()] = view
    if before is None or before == view or not backend_settings().points_while_moving:
        return
    _memory.is_moving = True
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick)


def _tick() -> float | None:
    """Drawing may not change objects, a timer may."""
    now = time.monotonic()
    if _memory.is_moving:
        _memory.is_moving, _memory.moved = False, now
    elif now - _memory.moved > REST:
        _show_splats()
        return None
    large = [item for item in _in_sight(bpy.context) if SHOWN_AS not in item]
    if sum(len(item.data.vertices) for item in large) >= MANY:
        for item in large:
            item[SHOWN_AS] = item.display_type
            item.display_type = "BOUNDS"
    return REST / 3


@bpy.app.handlers.persistent
def _show_splats(*_: object) -> None:
    """Gives every object the display type back that is its own."""
    for item in bpy.data.objects:
        if SHOWN_AS in item:
            item.display_type = item[SHOWN_AS]
            del item[SHOWN_AS]
    _memory.points.clear()


def _points_of(item: bpy.types.Object) -> "gpu.types.GPUBatch":
    name = item.data.session_uid
    key = (len(item.data.vertices), item.data.name)
    if _memory.points.get(name, (None,))[0] != key:
        splats = splats_of(item, harmonics=False)
        _memory.points[name] = (key, point_batch(splats.position, splats.f_dc, splats.opacity))
    return _memory.points[name][1]
