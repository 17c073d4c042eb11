"""Finished results on their way into the scene that is open; some have to wait until nobody is in the way."""

import logging
from dataclasses import dataclass, replace

import bpy
import numpy as np

from ..backend_settings import backend_settings
from ..extension_paths import extension_version
from ..faults import Fault
from ..meshes.recolor import is_busy, recolor
from ..scene.asset import Asset
from ..scene.window import as_one_step, finish_in_place, has_to_wait, place
from .asset import asset_of
from .job import Job
from .placement import Placement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrival:
    """A result that is not in a scene yet, and where it goes."""

    job: Job
    asset: Asset | None
    placement: Placement
    colors: np.ndarray | None = None  # (V, 3) sRGB of the objects that the placement recolors


def arrival_of(job: Job, placement: Placement) -> Arrival:
    """What a finished job brings."""
    if placement.recolors:
        part = job.part("vertex_colors")
        assert part is not None, "the backend ends no such job without them"
        return Arrival(job, None, placement, part.arrays["colors"])
    keeps = backend_settings().keeps_pictures
    asset = asset_of(job, placement.name, extension_version(), keeps, placement.history)
    return Arrival(job, asset, placement)


def place_arrivals(arrivals: list[Arrival]) -> tuple[list[Arrival], str]:
    """Puts results into the scene; gives those that wait, and what there is to tell, or "".

    None goes in while a render reads the data, an edit's not while somebody edits its asset by hand.
    """
    waiting: list[Arrival] = []
    told = ""
    if bpy.app.is_job_running("RENDER"):
        return arrivals, told
    for arrival in arrivals:
        if reason := _has_to_wait(arrival.placement):
            waiting.append(arrival)
            told = reason
            continue
        told = _place_or_tell(arrival) or told
    return waiting, told


def _has_to_wait(placement: Placement) -> str:
    """Why a result cannot go into the scene now; empty where it can."""
    if is_busy(placement.recolors):
        return f'The colors of "{placement.name}" are done: leave Edit, Sculpt or Paint Mode to receive them.'
    return has_to_wait(placement.edits or placement.finishes)


def _place_or_tell(arrival: Arrival) -> str:
    name = arrival.placement.name
    try:
        return _place(arrival)
    except Fault as fault:
        return str(fault)
    except Exception as error:
        log.exception("%s could not be added to the scene", name)
        if arrival.placement.edits:  # the asset is as it was; the result stands beside it at least
            again = _place_or_tell(replace(arrival, placement=Placement(name)))
            return again or f'"{name}" could not be changed ({error}): the result was added beside it.'
        return f'"{name}" could not be added to the scene ({error}): try again.'


def _place(arrival: Arrival) -> str:
    placement, colors = arrival.placement, arrival.colors
    if colors is not None:
        as_one_step(lambda: recolor(placement.recolors, colors), placement.name)
        return ""
    asset = arrival.asset
    assert asset is not None, "it brings either"
    if placement.finishes:
        told: list[str] = []
        as_one_step(lambda: told.append(finish_in_place(placement.finishes, asset)), placement.name)
        return told[0]
    return place(
        asset,
        edits=placement.edits,
        keeps_former=placement.keeps_former,
        matrix=placement.matrix,
        standing=placement.standing,
        frames=backend_settings().frames_results,
    )
