"""Draws the object that is being made into the 3D views: voxels first, then its Gaussians as points.

Nothing is added to the scene; the finished object takes its place.
"""

import bpy
import gpu
import numpy as np
from mathutils import Matrix, Vector

from ..backend_settings import backend_settings
from ..jobs import session
from ..jobs.status import Growing
from ..scene.asset import Asset
from ..scene.display.framing import frame_points
from ..scene.placement import free_place
from ..scene.window import cube_matrix
from .cube_drawing import Cubes
from .splats.points import draw_points, point_batch

COLOR = (0.75, 0.76, 0.8)
POINT_PIXELS = 3.0


class _Memory:
    """What was drawn last."""

    def __init__(self):
        self.key: tuple[str, int] | None = None
        self.corners: tuple[Vector, ...] = ()
        self.matrix = Matrix.Identity(4)
        self.cubes = Cubes()
        self.points: gpu.types.GPUBatch | None = None


_memory = _Memory()
_handle: object = None  # of the drawing; these two are this module's only state


def begin() -> None:
    """On registration: draws from now on. Without a window there is nothing to draw into."""
    global _handle
    if not bpy.app.background:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")


def end() -> None:
    """On unregistration."""
    global _handle, _memory
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
    _handle, _memory = None, _Memory()


def _draw() -> None:
    growing = session.growing()
    if growing is None or not backend_settings().shows_previews:
        return
    if growing.key != _memory.key:
        begins = _memory.key is None or _memory.key[0] != growing.key[0]
        _memory.key = growing.key
        _memory.matrix = _place_of(growing)
        _memory.corners = corners_of(growing, _memory.matrix)
        if begins and backend_settings().frames_results:
            bpy.app.timers.register(_frame)
        _memory.points = _point_batch(growing) if growing.gaussian is not None else None
        if _memory.points is None:
            _memory.cubes.fill(growing.filled())
    if _memory.points is None:
        _memory.cubes.draw(_memory.matrix, COLOR, 1.0)
    else:
        draw_points(_memory.points, _memory.matrix, POINT_PIXELS)


def _frame() -> None:
    """Drawing may not turn views, a timer may."""
    if _memory.corners:
        frame_points(_memory.corners)


def corners_of(growing: Growing, matrix: Matrix) -> tuple[Vector, ...]:
    """The box around its voxels, in the world."""
    ends = growing.outline()
    return tuple(matrix @ Vector(ends[corner, range(3)]) for corner in np.ndindex(2, 2, 2))


def _place_of(growing: Growing) -> Matrix:
    """Where the object will stand, as far as its voxels tell."""
    given = cube_matrix(growing.frame, growing.placement.matrix)
    if given is not None:
        return given
    so_far = Asset("", mesh={"vertices": growing.outline()})
    context = bpy.context
    return free_place(so_far, context.scene, context.view_layer, growing.placement.standing)


def _point_batch(growing: Growing) -> "gpu.types.GPUBatch":
    arrays = growing.gaussian
    assert arrays is not None
    return point_batch(arrays["position"], arrays["f_dc"], arrays["opacity"])
