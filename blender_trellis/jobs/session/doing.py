"""What operators do with jobs: send, order, cancel, retry and forget them."""

from collections.abc import Hashable
from dataclasses import replace

from ...protocol import CutOut, LoadModel, Making
from ...scene.window import redraw
from ..cut_out import Asked
from ..job import Job
from ..kept.stage_times import times_key
from ..placement import Placement
from .backend import choose_launch
from .results import add_candidate, fail, keep, prepare, times
from .state import State, current
from .timer import wake


def submit(request: Making, placement: Placement) -> str:
    """Sends a request; `placement` says where its result goes. Gives the job's name back."""
    state = current()
    dismiss()
    choose_launch(state)
    job = state.runner.submit(request, times(state).get(times_key(request), {}))
    state.placements[job] = placement
    wake()
    return job


def ask_cut_out(request: CutOut, key: Hashable) -> None:
    """Asks what the model will see of a picture; `cut_out` tells, with this key."""
    state = current()
    choose_launch(state)
    state.runner.ask_cut_out(request, key)
    wake()


def refuse_cut_out(key: Hashable, fault: str) -> None:
    """Tells under this key of a picture that cannot even be read."""
    current().runner.cut_out = Asked("", key, fault=fault, ended=True)
    redraw()


def cancel(job: str = "") -> None:
    """Gives up a job, or the one that runs and all that wait."""
    runner = current().runner
    for one in (*runner.queue.waiting, runner.queue.running):
        if one is not None and job in ("", one.id):
            runner.cancel(one.id)
    wake()


def resume() -> None:
    """Starts a backend for the jobs that wait, as the preferences say now."""
    state = current()
    dismiss()
    choose_launch(state)
    state.runner.resume()
    state.unstarted = ""  # it is told again where it fails again
    wake()


def move(job: str, by: int) -> None:
    """Lets a waiting job run so many places later, or earlier."""
    current().runner.move(job, by)
    wake()


def retry(job: str) -> None:
    """Sends the request of a job that has ended again."""
    ended = next((one for one in current().ended if one.listed.id == job), None)
    if ended is not None:
        submit(ended.request, ended.placement)
        forget(job)


def continue_left() -> None:
    """Goes on with the jobs that were waiting when Blender closed; finished ones go into the scene.

    Candidates are shown again, to be picked. One that fails is listed as that, and the others go on. Fault
    where no backend can be started, which leaves all as it is.
    """
    state = current()
    state.keeper.left()
    adopted = state.keeper.adopt()
    if any(one.job.state != "finished" for one in adopted.jobs):
        choose_launch(state)
    failed: list[Exception] = []
    for one in adopted.jobs:
        placement = replace(one.placement, recolored_uids=(), scene=0)  # they were of that Blender
        try:
            _go_on(state, one.job, placement)
        except Exception as error:  # noqa: BLE001 (it is told, and the others go on)
            fail(state, one.job, placement, error)
            failed.append(error)
    if failed:
        state.note_bug(failed[0])  # again, for what is sent takes a fault away
    keep(state)
    state.keeper.settle()
    wake()
    if adopted.unreadable:
        state.note_fault(f"{adopted.unreadable} of the kept jobs cannot be read and stay; the others go on.")
    elif adopted.elsewhere and not adopted.jobs:
        state.note_fault("Another Blender goes on with these jobs.")


def _go_on(state: State, job: Job, placement: Placement) -> None:
    if job.state == "finished" and placement.candidate:
        add_candidate(state, job, placement)
    elif job.state == "finished":
        prepare(state, job, placement)
    elif not isinstance(job.request, LoadModel):
        submit(job.request, placement)


def discard_left() -> None:
    """Drops the jobs that were waiting when Blender closed."""
    current().keeper.discard_left()
    wake()


def forget(job: str = "") -> None:
    """Takes a job that has ended off the list, or all of them."""
    state = current()
    state.ended = tuple(one for one in state.ended if job not in ("", one.listed.id))
    redraw()


def dismiss() -> None:
    """Forgets the last fault, and what was told besides."""
    state = current()
    state.fault, state.log, state.remedy, state.note = "", (), "", ""


def tell_fault(sentence: str) -> None:
    """Shows why something was refused, in place of the last fault."""
    current().note_fault(sentence)
    redraw()
