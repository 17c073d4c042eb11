"""The add-on's only mutable state (jobs, backend, tasks, last fault) and the timer that drives it.

Everything here runs on Blender's main thread. No reference to Blender's data outlives a tick, so that undo
and loading files may do what they like in the meantime.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import bpy

from ..backend_settings import backend_settings
from ..extension_paths import extension_root, user_folder
from ..install.backend_install import Wanted, find_python, install
from ..install.model_command import ModelsDone, run_models
from ..install.self_test import run_self_test as self_test
from ..process.background_task import BackgroundTask, Report, TaskState
from ..protocol import LoadModel, Making, ModelInfo
from ..scene.window import redraw
from .arrivals import Arrival, arrival_of, place_arrivals
from .candidates import Candidate, candidate_of, complete
from .job import Job, stage_seconds
from .kept.keeper import QueueKeeper
from .known_models import read_models, write_models
from .placement import Placement
from .runner import JobRunner, Launch
from .stage_times import Times, read_times, times_key, with_run, write_times
from .status import Ended, Growing, Listed, Status, growing_of, label, listed, status_of

log = logging.getLogger(__name__)

BUSY_SECONDS = 0.1
IDLE_SECONDS = 1.0
KEPT_JOBS = 12
PYTHON_SECONDS = 2.0  # how long the search for the backend's Python is believed


class _State:
    """Everything that changes while the add-on is enabled."""

    def __init__(self):
        self.runner = JobRunner()
        self.keeper = QueueKeeper(user_folder() / "queue")
        self.keeping = ""  # why the queue could not be kept, as it was told
        self.placements: dict[str, Placement] = {}  # of the jobs' results
        self.arrived: list[Arrival] = []  # finished, not in a scene yet
        self.waiting = ""  # why they are not
        self.unsaved: tuple[tuple[Job, Placement], ...] = ()  # placed, in no saved file yet
        self.candidates: tuple[Candidate, ...] = ()  # by their numbers
        self.ended: tuple[Ended, ...] = ()  # the last ones, oldest first
        self.times: Times | None = None  # of stages; None until they are read
        self.tasks: dict[str, BackgroundTask] = {}
        self.running_tasks: set[str] = set()
        self.fault = ""
        self.log: tuple[str, ...] = ()
        self.shown: tuple[object, ...] = ()  # as of the last redraw
        self.seen: tuple[str, int] | None = None  # of the object that is being made
        self.told: tuple[ModelInfo, ...] | None = None  # the known models; None until they are read
        self.stored: object = None  # the backend's greeting that has been stored
        self.python: Path | None = None
        self.python_known = float("-inf")


_state: _State | None = None


def begin() -> None:
    """On registration. Starts nothing."""
    global _state
    _state = _State()
    for handlers in (bpy.app.handlers.save_post, bpy.app.handlers.load_post):
        handlers.append(_is_saved)


def end() -> None:
    """On unregistration: ends the backend and the timer."""
    global _state
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for handlers in (bpy.app.handlers.save_post, bpy.app.handlers.load_post):
        handlers.remove(_is_saved)
    state, _state = _current(), None
    state.unsaved = ()
    _keep(state)
    for task in state.tasks.values():
        task.cancel()
    state.runner.close()
    state.keeper.close()


def _current() -> _State:
    assert _state is not None, "the add-on is not registered"
    return _state


# ---- what panels ask


def status() -> Status:
    """How things stand."""
    state = _current()
    return status_of(state.runner, state.placements, state.fault, state.log)


def listed_jobs() -> tuple[Listed, ...]:
    """The jobs that have ended, run and wait, in this order."""
    state = _current()
    return (*(one.listed for one in state.ended), *listed(state.runner, state.placements))


def growing() -> Growing | None:
    """The object that is being made, as far as it can be shown."""
    state = _current()
    return growing_of(state.runner, state.placements)


def candidates() -> tuple[Candidate, ...]:
    """The structures to choose from, by their numbers."""
    return _current().candidates


def next_candidate() -> int:
    """The number that the next candidate gets."""
    state = _current()
    coming = (one.candidate for one in state.placements.values())
    return max((*coming, *(one.number for one in state.candidates)), default=0) + 1


def left_jobs() -> int:
    """How many jobs were waiting when Blender closed; they are offered where there is a window."""
    return 0 if bpy.app.background else _current().keeper.left()


def is_being_edited(asset: str) -> bool:
    """Whether an edit of the asset with this id runs or waits, so that another would start from what goes."""
    state = _current()
    placements = (*state.placements.values(), *(one.placement for one in state.arrived))
    return any(one.edits == asset for one in placements)


def task(name: str) -> TaskState | None:
    """The state of the latest task of that name."""
    held = _current().tasks.get(name)
    return held.state if held is not None else None


def known_models() -> tuple[ModelInfo, ...]:
    """The models that the backend has told of, now or in an earlier session; at first the bundled ones."""
    state = _current()
    if state.told is None:
        state.told = read_models(user_folder())
    return state.told


def model_info(model: str) -> ModelInfo | None:
    """What is known of a model; None for one that no backend has told of yet, such as a folder's path."""
    return next((one for one in known_models() if one.name == model), None)


def known_devices() -> list[str]:
    """What a model can run on, as far as it is known."""
    hello = _current().runner.hello
    found = [device.name for device in hello.devices] if hello is not None else ["cpu", "cuda"]
    return ["auto", *found]


def backend_python(fresh: bool = False) -> Path | None:
    """The backend's interpreter, None while there is none. Looked for every other second, or now."""
    state = _current()
    if fresh or time.monotonic() - state.python_known > PYTHON_SECONDS:
        state.python = find_python(backend_settings().python, user_folder(), extension_root())
        state.python_known = time.monotonic()
    return state.python


def is_running() -> bool:
    """Whether there is a backend process."""
    return _current().runner.is_alive


# ---- what operators do


def submit(request: Making, placement: Placement) -> str:
    """Sends a request; `placement` says where its result goes. Gives the job's name back."""
    state = _current()
    dismiss()
    python = backend_python(fresh=True)
    if python is not None:
        log_path = user_folder(create=True) / "backend.log"
        chosen = backend_settings()
        remover = chosen.background_remover
        state.runner.use(Launch(python, extension_root(), log_path, chosen.models, remover))
    job = state.runner.submit(request, _times(state).get(times_key(request), {}))
    state.placements[job] = placement
    _wake()
    return job


def cancel(job: str = "") -> None:
    """Gives up a job, or the one that runs and all that wait."""
    runner = _current().runner
    for one in (*runner.queue.waiting, runner.queue.running):
        if one is not None and job in ("", one.id):
            runner.cancel(one.id)
    _wake()


def move(job: str, by: int) -> None:
    """Lets a waiting job run so many places later, or earlier."""
    _current().runner.move(job, by)
    _wake()


def retry(job: str) -> None:
    """Sends the request of a job that has ended again."""
    ended = next((one for one in _current().ended if one.listed.id == job), None)
    if ended is not None:
        forget(job)
        submit(ended.request, ended.placement)


def continue_left() -> None:
    """Goes on with the jobs that were waiting when Blender closed; finished ones go into the scene."""
    state = _current()
    state.keeper.left()
    for one in state.keeper.adopt():
        if one.job.state == "finished":
            state.arrived.append(arrival_of(one.job, one.placement))
        elif not isinstance(one.job.request, LoadModel):
            submit(one.job.request, one.placement)
    _keep(state)
    discard_left()


def discard_left() -> None:
    """Drops the jobs that were waiting when Blender closed."""
    _current().keeper.forget_left()
    _wake()


def forget(job: str = "") -> None:
    """Takes a job that has ended off the list, or all of them."""
    state = _current()
    state.ended = tuple(one for one in state.ended if job not in ("", one.listed.id))
    redraw()


def dismiss() -> None:
    """Forgets the last fault."""
    state = _current()
    state.fault, state.log = "", ()


def pick(candidate: str) -> None:
    """Picks a candidate, or no longer."""
    state = _current()
    state.candidates = tuple(
        replace(one, picked=not one.picked) if one.id == candidate else one for one in state.candidates
    )
    redraw(views=True)


def finish_picked(feet: Mapping[str, tuple[float, float, float]]) -> None:
    """Makes the rest of every candidate that is picked, where its foot is; the others stay to be picked."""
    state = _current()
    for one in [one for one in state.candidates if one.picked]:
        standing = replace(one.placement.standing, foot=feet.get(one.id))
        submit(complete(one), replace(one.placement, standing=standing, candidate=0))
        state.candidates = tuple(other for other in state.candidates if other.id != one.id)
    redraw(views=True)


def discard_candidates() -> None:
    """Drops all candidates, and those that are still to come."""
    state = _current()
    state.candidates = ()
    for name in [name for name, placement in state.placements.items() if placement.candidate]:
        cancel(name)
    redraw(views=True)


def stop_backend() -> None:
    """Ends the backend; it starts again with the next job."""
    _current().runner.stop_process()
    _wake()


def install_backend(accelerator: str) -> None:
    """Makes the backend's environment in the extension's folder, in the background."""
    target, root = user_folder(create=True), extension_root()
    stop_backend()  # its files cannot be replaced on Windows while it runs

    def work(report: Report, cancelled: threading.Event) -> str:
        return f"Installed: {install(target, root, Wanted(accelerator), report, cancelled)}"

    _start_task("install", BackgroundTask("Installing", work))


def run_self_test(device: str, engine: str) -> None:
    """Runs the engine's self-test in a process of its own."""
    python = backend_python()
    assert python is not None, "the operator's poll asks for it"

    def work(report: Report, cancelled: threading.Event) -> str:
        return self_test(python, extension_root(), (device, engine), report, cancelled)

    _start_task("self-test", BackgroundTask("Testing", work))


def change_models(title: str, words: tuple[str, ...]) -> None:
    """Downloads, imports, verifies or deletes models with the backend's command, in a process of its own."""
    python = backend_python()
    assert python is not None, "the operators' polls ask for it"
    models = backend_settings().models

    def work(report: Report, cancelled: threading.Event) -> ModelsDone:
        return run_models(python, extension_root(), (*words, "--models", str(models)), report, cancelled)

    _start_task("models", BackgroundTask(title, work))


def cancel_task(name: str) -> None:
    """Asks a task to stop."""
    held = _current().tasks.get(name)
    if held is not None:
        held.cancel()


def _start_task(name: str, started: BackgroundTask) -> None:
    state = _current()
    state.tasks[name] = started
    state.running_tasks.add(name)
    _wake()


# ---- the timer


def _wake() -> None:
    """Lets the timer run soon. It ends by itself once there is nothing to watch."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)  # it may be on a long interval
    bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)
    redraw()


def _tick() -> float | None:
    """One short turn on the main thread; the seconds until the next, None for no other."""
    state = _current()
    for job in state.runner.tick():
        _end_job(state, job)
    _store_models(state)
    _place_arrived(state)
    _keep(state)
    _watch_tasks(state)
    shown = (status(), listed_jobs(), *(held.state for held in state.tasks.values()))
    if shown != state.shown:
        state.shown = shown
        redraw()
    seen = growing()
    if (seen and seen.key) != state.seen:
        state.seen = seen.key if seen else None
        redraw(views=True)
    if _is_busy(state):
        return BUSY_SECONDS
    return IDLE_SECONDS if state.runner.is_alive else None


def _times(state: _State) -> Times:
    if state.times is None:
        state.times = read_times(user_folder())
    return state.times


def _store_models(state: _State) -> None:
    """Keeps what a new backend tells of its models for the next session."""
    hello = state.runner.hello
    if hello is not None and hello is not state.stored:
        state.stored = hello
        _know_models(state, hello.models)


def _know_models(state: _State, models: tuple[ModelInfo, ...]) -> None:
    state.told = models
    write_models(user_folder(create=True), models)


def _is_busy(state: _State) -> bool:
    queue = state.runner.queue
    return bool(queue.running or queue.waiting or state.arrived or state.running_tasks)


def _end_job(state: _State, job: Job) -> None:
    placement = state.placements.pop(job.id)
    assert not isinstance(job.request, LoadModel), "only requests with a placement are sent"
    sentence = job.message.partition("\n")[0]
    kept = Ended(Listed(job.id, label(placement), job.state, sentence), job.request, placement)
    state.ended = (*state.ended, kept)[-KEPT_JOBS:]
    if job.state == "finished":
        state.times = with_run(_times(state), job.request, stage_seconds(job))
        write_times(user_folder(create=True), state.times)
        if placement.candidate:
            found = (*state.candidates, candidate_of(job, placement))
            state.candidates = tuple(sorted(found, key=lambda one: one.number))
            redraw(views=True)
        else:
            state.arrived.append(arrival_of(job, placement))
    elif job.state == "failed":
        sentence, *lines = job.message.splitlines()
        _note_fault(state, sentence, tuple(lines))


def _place_arrived(state: _State) -> None:
    if not state.arrived:
        return
    waited, before = bool(state.waiting), state.arrived
    state.arrived, told = place_arrivals(before)
    waits = {one.job.id for one in state.arrived}
    placed = [(one.job, one.placement) for one in before if one.job.id not in waits]
    state.unsaved = (*state.unsaved, *placed)
    state.waiting = told if state.arrived else ""
    if waited or told:
        state.fault, state.log = told, ()


def _keep(state: _State) -> None:
    """Writes the jobs down that are in no scene yet, for the case that Blender ends."""
    here = [(job, state.placements[job.id]) for job in state.runner.queue.jobs if job.id in state.placements]
    state.keeper.keep([*state.unsaved, *((one.job, one.placement) for one in state.arrived), *here])
    state.unsaved = tuple((replace(job, parts=()), where) for job, where in state.unsaved)[-KEPT_JOBS:]
    if state.keeper.fault not in ("", state.keeping):
        _note_fault(state, state.keeper.fault, ())
    state.keeping = state.keeper.fault


@bpy.app.handlers.persistent
def _is_saved(*_: object) -> None:
    """What was placed is in a file now, or was left with the file that was open."""
    _current().unsaved = ()
    _wake()


def _watch_tasks(state: _State) -> None:
    ended = {name for name in state.running_tasks if state.tasks[name].state.done}
    state.running_tasks -= ended
    if ended:
        state.python_known = float("-inf")
    for name in ended:
        result = state.tasks[name].state.result
        if isinstance(result, ModelsDone):
            _know_models(state, result.infos)


def _note_fault(state: _State, sentence: str, lines: tuple[str, ...]) -> None:
    log.error("%s %s", sentence, " | ".join(lines))
    state.fault, state.log = sentence, lines


def pump_until_done(timeout: float) -> bool:
    """For background mode, where timers do not fire: ticks until all is done; False after `timeout`."""
    deadline = time.monotonic() + timeout
    while _is_busy(_current()):
        _tick()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
