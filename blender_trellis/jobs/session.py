"""The add-on's only mutable state (jobs, backend, tasks, last fault) and the timer that drives it.

Everything here runs on Blender's main thread. No reference to Blender's data outlives a tick, so that undo
and loading files may do what they like in the meantime.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import bpy

from ..backend_settings import backend_settings
from ..extension_paths import extension_root, extension_version, user_folder
from ..install.accelerator import in_words
from ..install.backend_install import Wanted, find_python, install, remove
from ..install.health import Health, check, lock_for
from ..install.model_command import ModelsDone, run_models
from ..install.python_environment import mark_time
from ..install.self_test import run_self_test as self_test
from ..process.background_task import BackgroundTask, Report, TaskState
from ..protocol import CutOut, LoadModel, Making, ModelInfo
from ..scene.window import redraw
from .arrivals import Arrival, Importer, arrival_of
from .candidates import Candidate, candidate_of, complete
from .cut_out import Asked
from .job import Job, stage_seconds
from .kept.keeper import QueueKeeper
from .kept.known_models import read_models, write_models
from .kept.stage_times import Times, read_times, times_key, with_run, write_times
from .launch import CommandLaunch, Launch
from .placement import Placement
from .runner import JobRunner
from .status import Ended, Growing, Listed, Status, growing_of, label, listed, status_of

log = logging.getLogger(__name__)

BUSY_SECONDS = 0.1
IMPORTING_SECONDS = 0.02  # between two turns of an import
IMPORT_SECONDS = 0.02  # a turn
IDLE_SECONDS = 1.0
KEPT_JOBS = 12
WITH_SETTINGS = ("missing_model", "out_of_memory")  # failures that the preferences may mend
PYTHON_SECONDS = 2.0  # how long the search for the backend's Python is believed


@dataclass(frozen=True, eq=False)
class Coming:
    """A finished result that is being prepared for the scene."""

    job: Job
    placement: Placement
    arrival: Future[Arrival]


class _State:
    """Everything that changes while the add-on is enabled."""

    def __init__(self):
        self.runner = JobRunner()
        self.keeper = QueueKeeper(user_folder() / "queue")
        self.keeping = ""  # why the queue could not be kept, as it was told
        self.placements: dict[str, Placement] = {}  # of the jobs' results
        self.importer = Importer()
        self.preparer = ThreadPoolExecutor(1, "results")
        self.coming: list[Coming] = []  # finished, being prepared for the scene
        self.arrived: list[Arrival] = []  # finished, not in a scene yet
        self.waiting = ""  # why they are not
        self.unsaved: tuple[tuple[Job, Placement], ...] = ()  # placed, in no saved file yet
        self.candidates: tuple[Candidate, ...] = ()  # by their numbers
        self.ended: tuple[Ended, ...] = ()  # the last ones, oldest first
        self.times: Times | None = None  # of stages; None until they are read
        self.tasks: dict[str, BackgroundTask] = {}
        self.running_tasks: set[str] = set()
        self.fault = ""
        self.remedy = ""  # what mends it: a setting, "preferences", or nothing that is known
        self.log: tuple[str, ...] = ()
        self.shown: tuple[object, ...] = ()  # as of the last redraw
        self.seen: tuple[str, int] | None = None  # of the object that is being made
        self.told: tuple[ModelInfo, ...] | None = None  # the known models; None until they are read
        self.stored: object = None  # the backend's greeting that has been stored
        self.python: Path | None = None
        self.python_known = float("-inf")
        self.checked: tuple[Path, float] | None = (
            None  # the interpreter whose packages were looked at, and when
        )


_state: _State | None = None


def begin() -> None:
    """On registration. Starts nothing."""
    global _state
    _state = _State()
    for handlers, call in _handlers():
        handlers.append(call)


def end() -> None:
    """On unregistration: ends the backend and the timer."""
    global _state
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for handlers, call in _handlers():
        handlers.remove(call)
    state, _state = _current(), None
    state.importer.give_up()
    state.unsaved = ()
    _keep(state)
    for task in state.tasks.values():
        task.cancel()
    state.runner.close()
    state.preparer.shutdown(wait=False, cancel_futures=True)
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
    finished = (placement for _, placement in _finished(state))
    placements = (*state.placements.values(), *finished)
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


def has_backend() -> bool:
    """Whether there is something to start: a command, or an interpreter."""
    return bool(backend_settings().command) or backend_python() is not None


def backend_health() -> Health | None:
    """What has been found out about the interpreter; None until it is known. Asks it the first time."""
    state, python = _current(), backend_python()
    if python is None:
        return None
    key = (python, mark_time(python.parent.parent))
    if state.checked != key:
        state.checked = key
        lock, ours = lock_for(python, extension_root()), user_folder() in python.parents
        _start_task(
            "check",
            BackgroundTask("Checking", lambda report, cancelled: check(python, lock, cancelled, ours)),
        )
    found = state.tasks["check"].state.result
    return found if isinstance(found, Health) else None


def is_running() -> bool:
    """Whether there is a backend process."""
    return _current().runner.is_alive


def cut_out() -> Asked | None:
    """The latest cut-out that was asked for."""
    return _current().runner.cut_out


# ---- what operators do


def submit(request: Making, placement: Placement) -> str:
    """Sends a request; `placement` says where its result goes. Gives the job's name back."""
    state = _current()
    dismiss()
    _choose_launch(state)
    job = state.runner.submit(request, _times(state).get(times_key(request), {}))
    state.placements[job] = placement
    _wake()
    return job


def ask_cut_out(request: CutOut, key: Hashable) -> None:
    """Asks what the model will see of a picture; `cut_out` tells, with this key."""
    state = _current()
    _choose_launch(state)
    state.runner.ask_cut_out(request, key)
    _wake()


def refuse_cut_out(key: Hashable, fault: str) -> None:
    """Tells under this key of a picture that cannot even be read."""
    _current().runner.cut_out = Asked("", key, fault=fault, ended=True)
    redraw()


def _choose_launch(state: _State) -> None:
    python, chosen = backend_python(fresh=True), backend_settings()
    log_path = user_folder(create=True) / "backend.log"
    if chosen.command:
        state.runner.use(CommandLaunch(chosen.command, log_path))
    elif python is not None:
        remover = chosen.background_remover
        state.runner.use(Launch(python, extension_root(), log_path, chosen.models, remover))


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
            _prepare(state, one.job, one.placement)
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
    state.fault, state.log, state.remedy = "", (), ""


def tell_fault(sentence: str) -> None:
    """Shows why something was refused, in place of the last fault."""
    _note_fault(_current(), sentence, ())
    redraw()


def remedy() -> str:
    """What mends the last fault."""
    return _current().remedy


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


def install_backend(wanted: Wanted) -> None:
    """Makes the backend's environment in the extension's folder, or mends it, in the background."""
    target, root = user_folder(create=True), extension_root()
    stop_backend()  # its files cannot be replaced on Windows while it runs

    def work(report: Report, cancelled: threading.Event) -> str:
        install(target, root, wanted, report, cancelled)
        return "Installed"

    _start_task("install", BackgroundTask("Installing", work))


def remove_backend() -> None:
    """Deletes the backend's environment, in the background."""
    target = user_folder(create=True)
    stop_backend()

    def work(report: Report, cancelled: threading.Event) -> str:
        return f"Removed: {in_words(remove(target))} of disk are free again"

    _start_task("install", BackgroundTask("Removing", work))


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
    state.runner.idle_seconds = 60.0 * backend_settings().idle_minutes
    for job in state.runner.tick():
        _end_job(state, job)
    _store_models(state)
    _place_arrived(state)
    _keep(state)
    _watch_tasks(state)
    shown = (status(), listed_jobs(), cut_out(), *(held.state for held in state.tasks.values()))
    if shown != state.shown:
        state.shown = shown
        redraw()
    seen = growing()
    if (seen and seen.key) != state.seen:
        state.seen = seen.key if seen else None
        redraw(views=True)
    if _is_busy(state):
        return IMPORTING_SECONDS if state.importer.is_busy or state.coming else BUSY_SECONDS
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
    queue, asked = state.runner.queue, state.runner.cut_out
    waits = state.coming or state.arrived or (asked is not None and not asked.ended)
    return bool(queue.running or queue.waiting or waits or state.running_tasks)


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
            _prepare(state, job, placement)
    elif job.state == "failed":
        sentence, *lines = job.message.splitlines()
        _note_fault(state, sentence, tuple(lines))
        state.remedy = job.remedy or ("preferences" if job.failure in WITH_SETTINGS else "")


def _prepare(state: _State, job: Job, placement: Placement) -> None:
    """Gets a finished result ready for the scene; what takes time is done in another thread."""
    keeps, version = backend_settings().keeps_pictures, extension_version()
    work = state.preparer.submit(arrival_of, job, placement, keeps, version)
    state.coming.append(Coming(job, placement, work))


def _finished(state: _State) -> Iterator[tuple[Job, Placement]]:
    """The finished jobs whose results are in no scene yet."""
    for arrival in state.arrived:
        yield arrival.job, arrival.placement
    for coming in state.coming:
        yield coming.job, coming.placement


def _place_arrived(state: _State) -> None:
    while state.coming and state.coming[0].arrival.done():
        state.arrived.append(state.coming.pop(0).arrival.result())
    if not state.arrived:
        return
    waited, before = bool(state.waiting), state.arrived
    state.arrived, told = state.importer.turn(before, IMPORT_SECONDS)
    waits = {one.job.id for one in state.arrived}
    placed = [(one.job, one.placement) for one in before if one.job.id not in waits]
    state.unsaved = (*state.unsaved, *placed)
    state.waiting = told if state.arrived else ""
    if waited or told:
        state.fault, state.log = told, ()


def _keep(state: _State) -> None:
    """Writes the jobs down that are in no scene yet, for the case that Blender ends."""
    here = [(job, state.placements[job.id]) for job in state.runner.queue.jobs if job.id in state.placements]
    state.keeper.keep([*state.unsaved, *_finished(state), *here])
    state.unsaved = tuple((replace(job, parts=()), where) for job, where in state.unsaved)[-KEPT_JOBS:]
    if state.keeper.fault not in ("", state.keeping):
        _note_fault(state, state.keeper.fault, ())
    state.keeping = state.keeper.fault


def _handlers() -> Iterator[tuple[list[Callable[..., None]], Callable[..., None]]]:
    """What Blender is to call when."""
    at = bpy.app.handlers
    for handlers in (at.undo_pre, at.redo_pre, at.load_pre, at.save_pre):
        yield handlers, _before_change
    for handlers in (at.undo_post, at.redo_post):
        yield handlers, _after_undo
    for handlers in (at.save_post, at.load_post):
        yield handlers, _is_saved
    yield at.depsgraph_update_post, _after_update


@bpy.app.handlers.persistent
def _before_change(*_: object) -> None:
    """Nothing half-made goes into a file or stays where an undo leaves it."""
    _current().importer.give_up()


@bpy.app.handlers.persistent
def _after_undo(*_: object) -> None:
    _current().importer.undone()


@bpy.app.handlers.persistent
def _after_update(_: object, graph: bpy.types.Depsgraph) -> None:
    importer = _current().importer
    if importer.is_busy:
        updates = (one for one in graph.updates if one.is_updated_geometry)
        importer.changed(one.id.original for one in updates if isinstance(one.id, bpy.types.Mesh))


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
    if "install" in ended:
        state.checked = None
    for name in ended:
        result = state.tasks[name].state.result
        if isinstance(result, ModelsDone) and result.infos is not None:
            _know_models(state, result.infos)


def _note_fault(state: _State, sentence: str, lines: tuple[str, ...]) -> None:
    log.error("%s %s", sentence, " | ".join(lines))
    state.fault, state.log, state.remedy = sentence, lines, ""


def pump_until_done(timeout: float) -> bool:
    """For background mode, where timers do not fire: ticks until all is done; False after `timeout`."""
    deadline = time.monotonic() + timeout
    while _is_busy(_current()):
        _tick()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
