"""The timer that drives everything, in short turns on the main thread."""

import time

import bpy

from ...backend_settings import backend_settings
from ...faults import Fault
from ...install.model_command import ModelsDone
from ...scene.window import redraw
from .asking import cut_out, growing, listed_jobs, status
from .models import know_models, store_models
from .results import end_job, keep, place_arrived
from .state import State, current

BUSY_SECONDS = 0.1
IMPORTING_SECONDS = 0.02  # between two turns of an import
IDLE_SECONDS = 1.0


def wake() -> None:
    """Lets the timer run soon. It ends by itself once there is nothing to watch."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)  # it may be on a long interval
    bpy.app.timers.register(tick, first_interval=0.0, persistent=True)
    redraw()


def tick() -> float | None:
    """One short turn on the main thread; the seconds until the next, None for no other.

    A bug in one of its parts is told and logged; the others go on, for Blender drops a timer that raises.
    """
    state = current()
    for part in _PARTS:
        try:
            part(state)
        except Fault as fault:  # such as of a folder that cannot be written
            state.note_fault(str(fault))
        except Exception as error:  # noqa: BLE001 (it is told, and whoever finds it keeps working)
            state.note_bug(error)
    if is_busy(state):
        return IMPORTING_SECONDS if state.importer.is_busy or state.coming else BUSY_SECONDS
    return IDLE_SECONDS if state.runner.is_alive else None


def _run_jobs(state: State) -> None:
    state.runner.idle_seconds = 60.0 * backend_settings().idle_minutes
    state.ending.extend(state.runner.tick())
    if state.runner.unstarted and state.runner.unstarted != state.unstarted:
        sentence, *lines = state.runner.unstarted.splitlines()
        state.note_fault(sentence, tuple(lines))
        state.remedy = "resume"
    state.unstarted = state.runner.unstarted
    while state.ending:
        end_job(state, state.ending.pop(0))


def _redraw_changed(state: State) -> None:
    shown = (status(), listed_jobs(), cut_out(), *(held.state for held in state.tasks.values()))
    if shown != state.shown:
        state.shown = shown
        redraw()
    seen = growing()
    if (seen and seen.key) != state.seen:
        state.seen = seen.key if seen else None
        redraw(views=True)


def is_busy(state: State) -> bool:
    """Whether there is anything to wait for."""
    queue, asked = state.runner.queue, state.runner.cut_out
    waits = state.ending or state.coming or state.arrived or (asked is not None and not asked.ended)
    will_start = queue.waiting and not state.runner.held
    return bool(queue.running or will_start or waits or state.running_tasks)


def _watch_tasks(state: State) -> None:
    ended = {name for name in state.running_tasks if state.tasks[name].state.done}
    state.running_tasks -= ended
    if ended:
        state.python_known = float("-inf")
    if "install" in ended:
        state.checked = None
        state.runner.is_blocked = False
    for name in ended:
        result = state.tasks[name].state.result
        if isinstance(result, ModelsDone) and result.infos is not None:
            know_models(state, result.infos)


_PARTS = (_run_jobs, store_models, place_arrived, keep, _watch_tasks, _redraw_changed)


def pump_until_done(timeout: float) -> bool:
    """For background mode, where timers do not fire: ticks until all is done; False after `timeout`."""
    deadline = time.monotonic() + timeout
    while is_busy(current()):
        tick()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
