"""Draws the candidates side by side into the 3D views, each with its number; nothing is in the scene."""

from collections.abc import Sequence
from dataclasses import dataclass

import blf
import bpy
import numpy as np
from bpy_extras import view3d_utils
from mathutils import Matrix, Vector

from ...backend_settings import backend_settings
from ...jobs import session
from ...jobs.candidates import Candidate
from ...scene.display.framing import frame_points
from ...scene.placement import Bounds, foot_of, free_places
from ..cube_drawing import Cubes

COLOR = (0.62, 0.64, 0.68)
PICKED = (1.0, 0.55, 0.15)
NUMBER_PIXELS = 22


@dataclass(frozen=True)
class Drawn:
    """A candidate where it is drawn: `matrix` takes its unit cube into the world."""

    candidate: Candidate
    matrix: Matrix

    @property
    def foot(self) -> tuple[float, float, float]:
        """The middle of its lower side in the world."""
        x, y, z = self.matrix @ Vector(foot_of(_box(self.candidate)))
        return x, y, z

    def corners(self) -> list[Vector]:
        """Those of its box in the world."""
        ends = self.candidate.outline()
        return [
            self.matrix @ Vector((ends[x, 0], ends[y, 1], ends[z, 2]))
            for x in (0, 1)
            for y in (0, 1)
            for z in (0, 1)
        ]

    def distance(self, origin: Vector, direction: Vector) -> float | None:
        """How many times `direction` it is from `origin` to its box; None where a ray misses that."""
        inverse = self.matrix.inverted()
        start, along = np.array(inverse @ origin), np.array(inverse.to_3x3() @ direction)
        along = np.where(along == 0, 1e-12, along)
        enters, leaves = np.sort((self.candidate.outline() - start) / along, axis=0)
        return float(enters.max()) if enters.max() <= leaves.min() and leaves.min() > 0 else None


class _Memory:
    """What was drawn last."""

    def __init__(self):
        self.key: object = None
        self.places: dict[str, Matrix] = {}
        self.cubes: dict[str, Cubes] = {}
        self.framed = 0  # how many the views were turned to


_memory = _Memory()
_handles: list[object] = []  # of the drawing; these two are this module's only state


def begin() -> None:
    """On registration: draws from now on. Without a window there is nothing to draw into."""
    if not bpy.app.background:
        space = bpy.types.SpaceView3D
        _handles.append(space.draw_handler_add(_draw_shapes, (), "WINDOW", "POST_VIEW"))
        _handles.append(space.draw_handler_add(_draw_numbers, (), "WINDOW", "POST_PIXEL"))


def end() -> None:
    """On unregistration."""
    global _memory
    while _handles:
        bpy.types.SpaceView3D.draw_handler_remove(_handles.pop(), "WINDOW")
    _memory = _Memory()


def _frame() -> None:
    """Drawing may not turn views, a timer may."""
    corners = [corner for one in drawn(bpy.context) for corner in one.corners()]
    if corners:
        frame_points(corners)


def drawn(context: bpy.types.Context) -> tuple[Drawn, ...]:
    """The candidates and where they stand: beside each other and beside what is in the scene. Where some are
    taken away the others keep their places."""
    found = session.candidates()
    scene, view_layer = context.scene, context.view_layer
    key = (scene.session_uid, len(view_layer.objects))
    if key != _memory.key or not {one.id for one in found} <= _memory.places.keys():
        _memory.key, places = key, places_of(found, scene, view_layer)
        _memory.places = {one.id: place for one, place in zip(found, places, strict=True)}
    if not found:
        _memory.places, _memory.cubes = {}, {}
    return tuple(Drawn(one, _memory.places[one.id]) for one in found)


def places_of(
    found: Sequence[Candidate], scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer
) -> list[Matrix]:
    """Where candidates stand, as the first of them would."""
    if not found:
        return []
    return free_places(list(map(_box, found)), scene, view_layer, found[0].placement.standing)


def _box(candidate: Candidate) -> Bounds:
    low, high = np.asarray(candidate.outline(), float)
    return Bounds(low, high)


def _draw_shapes() -> None:
    found = drawn(bpy.context)
    if len(found) > _memory.framed and backend_settings().frames_results:
        bpy.app.timers.register(_frame)
    _memory.framed = len(found)
    for one in found:
        cubes = _memory.cubes.get(one.candidate.id)
        if cubes is None:
            cubes = _memory.cubes[one.candidate.id] = Cubes()
            cubes.fill(one.candidate.filled())
        cubes.draw(one.matrix, PICKED if one.candidate.picked else COLOR, 1.0)


def _draw_numbers() -> None:
    context = bpy.context
    size = NUMBER_PIXELS * context.preferences.system.ui_scale
    for one in drawn(context):
        corners = one.corners()
        top = sum(corners[1::2], Vector()) / 4  # of the box's upper side
        at = view3d_utils.location_3d_to_region_2d(context.region, context.region_data, top)
        if at is None:
            continue
        text = str(one.candidate.number)
        blf.size(0, size)
        width, _ = blf.dimensions(0, text)
        blf.enable(0, blf.SHADOW)
        blf.shadow(0, 5, 0.0, 0.0, 0.0, 1.0)
        blf.color(0, 1.0, 1.0, 1.0, 1.0)  # a number in PICKED could not be read on its own shape
        blf.position(0, at.x - width / 2, at.y + size / 2, 0)
        blf.draw(0, text)
        blf.disable(0, blf.SHADOW)
