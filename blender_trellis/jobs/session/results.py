"""What becomes of jobs that end: candidates, results that go into the scene, faults, kept files."""

from dataclasses import replace

from ...backend_settings import backend_settings
from ...extension_paths import extension_version, user_folder
from ...protocol import LoadModel
from ...scene.window import redraw
from ..arrivals import arrival_of
from ..candidates import candidate_of
from ..job import Job, stage_seconds
from ..kept.stage_times import Times, read_times, with_run, write_times
from ..placement import Placement
from ..status import Ended, Listed, label
from .state import Coming, State

IMPORT_SECONDS = 0.02  # a turn of an import
KEPT_JOBS = 12  # that have ended, besides those that failed, which stay until somebody clears them
WITH_SETTINGS = ("missing_model", "out_of_memory")  # failures that the preferences may mend


def end_job(state: State, job: Job) -> None:
    """Lists a job as ended and passes on what it made, or why it failed."""
    placement = state.placements.pop(job.id)
    assert not isinstance(job.request, LoadModel), "only requests with a placement are sent"
    sentence = job.message.partition("\n")[0]
    kept = Ended(Listed(job.id, label(placement), job.state, sentence), job.request, placement)
    others = [one.listed.id for one in state.ended if one.listed.state != "failed"]
    state.ended = (*(one for one in state.ended if one.listed.id not in others[: 1 - KEPT_JOBS]), kept)
    if job.state == "finished":
        if placement.candidate:
            add_candidate(state, job, placement)
        else:
            prepare(state, job, placement)
        state.times = with_run(times(state), job.request, stage_seconds(job))
        write_times(user_folder(create=True), state.times)
    elif job.state == "failed":
        sentence, *lines = job.message.splitlines()
        state.note_fault(sentence, tuple(lines))
        state.remedy = job.remedy or ("preferences" if job.failure in WITH_SETTINGS else "")


def add_candidate(state: State, job: Job, placement: Placement) -> None:
    """Shows a structure beside the others, to be picked or not; numbers are given once."""
    taken = {one.number for one in state.candidates}
    if placement.candidate in taken:
        placement = replace(placement, candidate=max(taken) + 1)
    found = (*state.candidates, candidate_of(job, placement))
    state.candidates = tuple(sorted(found, key=lambda one: one.number))
    redraw(views=True)


def times(state: State) -> Times:
    """How long stages took so far, in this session and before."""
    if state.times is None:
        state.times = read_times(user_folder())
    return state.times


def prepare(state: State, job: Job, placement: Placement) -> None:
    """Gets a finished result ready for the scene; what takes time is done in another thread."""
    keeps, version = backend_settings().keeps_pictures, extension_version()
    work = state.preparer.submit(arrival_of, job, placement, keeps, version)
    state.coming.append(Coming(job, placement, work))


def fail(state: State, job: Job, placement: Placement, error: BaseException) -> None:
    """Lists a finished job as failed whose result could not be made ready, so that it can be run again."""
    assert not isinstance(job.request, LoadModel), "only requests with a placement are sent"
    state.note_bug(error)
    failed = Ended(Listed(job.id, label(placement), "failed", state.fault), job.request, placement)
    if any(one.listed.id == job.id for one in state.ended):
        state.ended = tuple(failed if one.listed.id == job.id else one for one in state.ended)
    else:  # it is one of an earlier session
        state.ended = (*state.ended, failed)


def place_arrived(state: State) -> None:
    """One turn of bringing finished results into the scene, in the order in which they finished."""
    while state.coming and state.coming[0].arrival.done():
        coming = state.coming.pop(0)
        error = coming.arrival.exception()
        if error is None:
            state.arrived.append(coming.arrival.result())
        else:
            fail(state, coming.job, coming.placement, error)
    state.importer.tidy()
    if not state.arrived:
        return
    before = state.arrived
    state.arrived, state.waiting, told = state.importer.turn(before, IMPORT_SECONDS)
    waits = {one.job.id for one in state.arrived}
    placed = [(one.job, one.placement) for one in before if one.job.id not in waits]
    state.unsaved = (*state.unsaved, *placed)
    state.note = state.importer.take_note() or state.note
    if told:
        state.note_fault(told)


def keep(state: State) -> None:
    """Writes the jobs down that are in no scene yet, for the case that Blender ends."""
    here = [(job, state.placements[job.id]) for job in state.runner.queue.jobs if job.id in state.placements]
    shown = [(one.job, one.placement) for one in state.candidates]
    state.keeper.keep([*state.unsaved, *state.finished(), *shown, *here])
    state.unsaved = tuple((replace(job, parts=()), where) for job, where in state.unsaved)
    if state.keeper.fault not in ("", state.keeping):
        state.note_fault(state.keeper.fault)
    state.keeping = state.keeper.fault
