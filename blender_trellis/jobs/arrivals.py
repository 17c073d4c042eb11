"""Finished results on their way into the scene that is open; some have to wait until nobody is in the way."""

import logging
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace

import bpy
import numpy as np

from ..backend_settings import backend_settings
from ..faults import Fault
from ..meshes.recolor import recolor, sent_objects, why_not_yet
from ..meshes.source import names_of
from ..meshes.thumbnail import thumbnail
from ..scene.asset import Asset
from ..scene.asset_marking import mark_asset
from ..scene.collection import remove_half_made
from ..scene.find_asset import find_asset
from ..scene.window import (
    as_one_step,
    finish_in_place,
    has_to_wait,
    open_view_layer,
    place_steps,
    true_colors,
)
from .asset import asset_of, surface_of, textures_of
from .job import Job
from .placement import Placement

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Arrival:
    """A result that is not in a scene yet, and where it goes."""

    job: Job
    asset: Asset | None
    placement: Placement
    colors: np.ndarray | None = None  # (V, 3) sRGB of the objects that the placement recolors
    textures: tuple[bytes, ...] = ()  # of each object a picture file of them on its own coordinates
    surface: tuple[float, float] = Asset.surface  # roughness and metallic of what the pictures are put onto


def arrival_of(job: Job, placement: Placement, keeps_pictures: bool, version: str) -> Arrival:
    """What a finished job brings, in any thread; `version` is the extension's."""
    if placement.recolors:
        part = job.part("vertex_colors")
        assert part is not None, "the backend ends no such job without them"
        textures = textures_of(part, len(names_of(placement.recolors)))
        return Arrival(job, None, placement, part.arrays["colors"], textures, surface_of(part))
    asset = asset_of(job, placement.name, version, keeps_pictures, placement.history)
    return Arrival(job, asset, placement)


class Importer:
    """Puts results into the scene one after the other, a little in every turn.

    Nothing is in the scene before a result is whole. Before an undo or the loading of a file the half-made
    one is given up, and begun again afterwards.
    """

    def __init__(self) -> None:
        self._job = ""  # whose result is being put in
        self._steps: Generator[None, None, str] | None = None
        self._reads: set[int] = set()  # meshes, by their session_uid, of the asset that is being changed
        self._undone = False
        self._note = ""

    def turn(self, arrivals: list[Arrival], seconds: float) -> tuple[list[Arrival], str, str]:
        """Goes on for so long or a little more; gives the results still to come, why one of them waits, and
        what went wrong, each or "".

        None goes in while a render reads the data, an edit's not while somebody edits its asset by hand.
        """
        waits, told = "", ""
        if bpy.app.is_job_running("RENDER"):
            return arrivals, waits, told
        waiting, deadline = list(arrivals), time.monotonic() + seconds
        for arrival in arrivals:
            if self._job not in ("", arrival.job.id):
                continue
            if reason := _has_to_wait(arrival.placement):
                self.give_up()
                waits = reason
                continue
            while (said := self._step(arrival)) is None:
                if time.monotonic() > deadline:
                    return waiting, waits, told
            told = said or told
            waiting.remove(arrival)
            if time.monotonic() > deadline:
                break
        return waiting, waits, told

    @property
    def is_busy(self) -> bool:
        """Whether something is half-made."""
        return self._steps is not None

    def give_up(self) -> None:
        """Takes away what is half-made; its result is still to come."""
        steps, self._steps, self._job, self._reads = self._steps, None, "", set()
        if steps is not None:
            steps.close()
        self.tidy()

    def tidy(self) -> None:
        """Takes away what an undo has brought back half-made, be its result in the scene by now."""
        if self._undone and not bpy.app.is_job_running("RENDER"):
            self._undone = False
            remove_half_made()

    def changed(self, meshes: Iterable[bpy.types.Mesh]) -> None:
        """These meshes have changed: a result that goes into one of them is begun anew."""
        if self._reads and any(mesh.session_uid in self._reads for mesh in meshes):
            self.give_up()

    def take_note(self) -> str:
        """What was done to the scene besides since this was asked last, one sentence, or ""."""
        note, self._note = self._note, ""
        return note

    def undone(self) -> None:
        """After an undo, which may have brought back what was half-made: `tidy` is to be called soon."""
        self._undone = True

    def _step(self, arrival: Arrival) -> str | None:
        """One step; None unless it was the last, after which it gives what there is to tell."""
        if self._steps is None:
            self._job, self._steps = arrival.job.id, _steps_or_words(arrival, self._true_colors, self._tell)
            collection = find_asset(arrival.placement.edits)
            bodies = [] if collection is None else [one for one in collection.objects if one.type == "MESH"]
            self._reads = {item.data.session_uid for item in bodies}
        try:
            next(self._steps)
        except StopIteration as end:
            self._job, self._steps, self._reads = "", None, set()
            return end.value
        return None

    def _true_colors(self) -> None:
        """In the undo step of what was just put in."""
        self._tell(true_colors())

    def _tell(self, note: str) -> None:
        self._note = note or self._note


def _has_to_wait(placement: Placement) -> str:
    """Why a result cannot go into the scene now; empty where it can."""
    return why_not_yet(_recolored(placement), open_view_layer()) or has_to_wait(
        placement.edits or placement.finishes
    )


def _recolored(placement: Placement) -> list[bpy.types.Object | None]:
    return sent_objects(
        placement.recolors, placement.recolored_uids, placement.recolored_scene, placement.recolored_file
    )


def _steps_or_words(
    arrival: Arrival, then: Callable[[], None], tell: Callable[[str], None]
) -> Generator[None, None, str]:
    name = arrival.placement.name
    try:
        return (yield from _steps(arrival, then, tell))
    except Fault as fault:
        return str(fault)
    except ReferenceError:  # somebody purged what no scene uses yet
        return (yield from _steps_or_words(arrival, then, tell))
    except Exception as error:
        log.exception("%s could not be added to the scene", name)
        if arrival.placement.edits:  # the asset is as it was; the result stands beside it at least
            beside = Placement(name, scene=arrival.placement.scene)
            again = yield from _steps_or_words(replace(arrival, placement=beside), then, tell)
            return again or f'"{name}" could not be changed ({error}): the result was added beside it.'
        return f'"{name}" could not be added to the scene ({error}): try again.'


def _mark(collection: bpy.types.Collection, placement: Placement) -> None:
    if placement.marks is not None:
        mark_asset(collection, placement.marks, thumbnail(collection))


def _steps(
    arrival: Arrival, then: Callable[[], None], tell: Callable[[str], None]
) -> Generator[None, None, str]:
    placement, colors = arrival.placement, arrival.colors
    if colors is not None:
        objects, parts = _recolored(placement), placement.recolors
        textures, surface = arrival.textures, arrival.surface
        as_one_step(lambda: tell(recolor(objects, parts, colors, textures, surface)), placement.name)
        return ""
    asset = arrival.asset
    assert asset is not None, "it brings either"
    if placement.finishes:
        told: list[str] = []

        def finish() -> None:
            told.append(finish_in_place(placement.finishes, placement.finished_from, asset))
            if not told[0]:
                then()

        as_one_step(finish, placement.name)
        return told[0]

    def mark(collection: bpy.types.Collection) -> None:
        _mark(collection, placement)
        then()

    return (
        yield from place_steps(
            asset,
            edits=placement.edits,
            keeps_former=placement.keeps_former,
            matrix=placement.matrix,
            standing=placement.standing,
            scene=placement.scene,
            frames=backend_settings().frames_results,
            then=mark,
        )
    )
