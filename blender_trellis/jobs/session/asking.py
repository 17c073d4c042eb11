"""What panels ask of the jobs; nothing here changes anything."""

import bpy

from ..cut_out import Asked
from ..placement import Placement
from ..status import Growing, Listed, Status, growing_of, listed, status_of
from .state import current


def status() -> Status:
    """How things stand."""
    state = current()
    return status_of(state.runner, state.placements, state.fault, state.log, state.note, state.waiting)


def remedy() -> str:
    """What mends the last fault."""
    return current().remedy


def listed_jobs() -> tuple[Listed, ...]:
    """The jobs that have ended, run and wait, in this order."""
    state = current()
    return (*(one.listed for one in state.ended), *listed(state.runner, state.placements))


def held() -> str:
    """Why no job starts of those that wait, "" where one does."""
    return current().runner.held


def growing() -> Growing | None:
    """The object that is being made, as far as it can be shown."""
    state = current()
    return growing_of(state.runner, state.placements)


def cut_out() -> Asked | None:
    """The latest cut-out that was asked for."""
    return current().runner.cut_out


def left_jobs() -> int:
    """How many jobs were waiting when Blender closed; they are offered where there is a window."""
    return 0 if bpy.app.background else current().keeper.left()


def is_being_edited(asset: str) -> bool:
    """Whether an edit of the asset with this id runs or waits, so that another would start from what goes."""
    return any(one.edits == asset for one in _unplaced())


def coming_places(scene: int) -> tuple[tuple[float, ...], ...]:
    """The matrices of results that are coming into the scene of this session_uid, to a place of their own."""
    return tuple(one.matrix for one in _unplaced() if one.matrix is not None and one.scene == scene)


def _unplaced() -> tuple[Placement, ...]:
    """Where the results go that are in no scene yet."""
    state = current()
    finished = (placement for _, placement in state.finished())
    return (*state.placements.values(), *finished)
