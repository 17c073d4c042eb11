"""Draws the voxels that an asset's regions take into the 3D views, and remembers them between two redraws."""

from dataclasses import dataclass

import bpy
import numpy as np

from ...editing.region_mask import RegionShape, holds_structure
from ...editing.region_objects import asset_of, read_region, regions_of, shape_of
from ...faults import Fault
from ...scene.asset import StoredLatents
from ...scene.find_asset import asset_matrix
from ...scene.latents import DATA, LATENTS, read_latents
from ..cube_drawing import Cubes

COLOR = (1.0, 0.42, 0.08)
ALPHA = 0.4


@dataclass(frozen=True)
class Taken:
    """What an asset's regions take."""

    shape: RegionShape
    latents: StoredLatents
    mask: np.ndarray  # (R, R, R) every voxel in the region, whether the asset fills it or not
    own: np.ndarray  # (R, R, R) those that the asset fills
    has_structure: bool  # whether the shape can change there


class _Memory:
    """What was computed last, for one asset."""

    def __init__(self):
        self.latents_key: object = None
        self.latents: StoredLatents | None = None
        self.former: object = None  # the key of the latents that an edit in these regions has replaced
        self.key: object = None
        self.taken: Taken | str = ""  # or why it cannot be told
        self.cubes = Cubes()
        self.drawn = False  # whether the cubes are those of `taken`


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


def taken_by(collection: bpy.types.Collection, view_layer: bpy.types.ViewLayer) -> Taken | None:
    """What the asset's visible regions take, None where it has none; computed anew only after a change.

    Fault where a region or the asset is not fit for it.
    """
    sources = [read_region(item, collection) for item in regions_of(collection, view_layer)]
    if not sources:
        return None
    carrier = collection.get(DATA)
    packed = carrier.get(LATENTS) if carrier is not None else None
    latents_key = (collection.session_uid, packed, collection.get("trellis_history"))
    stamps = tuple(source.stamp for source in sources)
    key = (latents_key, stamps)
    if key != _memory.key:
        _memory.former = _replaced(_memory.key, key, _memory.former)
        _memory.key, _memory.drawn = key, False
        try:
            if latents_key != _memory.latents_key or _memory.latents is None:
                _memory.latents_key, _memory.latents = latents_key, None
                _memory.latents = read_latents(collection)
            _memory.taken = _take(shape_of(sources), _memory.latents)
        except Fault as fault:
            _memory.taken = str(fault)
    if isinstance(_memory.taken, str):
        raise Fault(_memory.taken)
    return _memory.taken


def is_settled() -> bool:
    """Whether what the regions take was just made anew: it is looked at then, until a region moves."""
    return _memory.former is not None


def _replaced(before, now, former):
    """The key of the latents that an edit has replaced in regions that stayed; None where none has."""
    if before is None or before[1] != now[1] or before[0][0] != now[0][0] or now[0] == former:
        return None
    return before[0]


def _take(shape: RegionShape, latents: StoredLatents) -> Taken:
    mask = shape.mask(latents.resolution)
    filled = np.zeros_like(mask)
    filled[tuple(latents.arrays["coords"].T)] = True
    has_structure = holds_structure(shape, mask, latents.structure_resolution)
    return Taken(shape, latents, mask, mask & filled, has_structure)


def _draw() -> None:
    context = bpy.context
    collection = asset_of(context.view_layer.objects.active, context.scene)
    if collection is None or not context.space_data.overlay.show_overlays:
        return
    try:
        taken = taken_by(collection, context.view_layer)
    except Fault:
        return  # which the panel says
    if taken is None or is_settled() or not taken.own.any():
        return
    if not _memory.drawn:
        _memory.cubes.fill(taken.own)
        _memory.drawn = True
    _memory.cubes.draw(asset_matrix(collection), COLOR, ALPHA)
