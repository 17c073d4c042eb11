"""Finished results on their way into the scene that is open; some have to wait until nobody is in the way."""

import logging
from dataclasses import dataclass, replace

import bpy

from ..backend_settings import backend_settings
from ..extension_paths import extension_version
from ..scene.asset import Asset
from ..scene.window import has_to_wait, place
from .asset import asset_of
from .job import Job
from .placement import Placement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrival:
    """A result that is not in a scene yet, and where it goes."""

    asset: Asset
    placement: Placement


def arrival_of(job: Job, placement: Placement) -> Arrival:
    """What a finished job brings."""
    keeps = backend_settings().keeps_pictures
    return Arrival(asset_of(job, placement.name, extension_version(), keeps, placement.history), placement)


def place_arrivals(arrivals: list[Arrival]) -> tuple[list[Arrival], str]:
    """Puts results into the scene; gives those that wait, and what there is to tell, or "".

    None goes in while a render reads the data, an edit's not while somebody edits its asset by hand.
    """
    waiting: list[Arrival] = []
    told = ""
    if bpy.app.is_job_running("RENDER"):
        return arrivals, told
    for arrival in arrivals:
        if reason := has_to_wait(arrival.placement.edits):
            waiting.append(arrival)
            told = reason
            continue
        told = _place_or_tell(arrival) or told
    return waiting, told


def _place_or_tell(arrival: Arrival) -> str:
    name = arrival.asset.name
    try:
        return _place(arrival)
    except Exception as error:
        log.exception("%s could not be added to the scene", name)
        if arrival.placement.edits:  # the asset is as it was; the result stands beside it at least
            again = _place_or_tell(replace(arrival, placement=Placement(name)))
            return again or f'"{name}" could not be changed ({error}): the result was added beside it.'
        return f'"{name}" could not be added to the scene ({error}): try again.'


def _place(arrival: Arrival) -> str:
    placement = arrival.placement
    return place(
        arrival.asset,
        edits=placement.edits,
        keeps_former=placement.keeps_former,
        matrix=placement.matrix,
        height=placement.height,
        frames=backend_settings().frames_results,
    )
