"""Beginning and end of the session, and what Blender tells in between: undo, files, changes."""

from collections.abc import Iterator, Sequence

import bpy

from ...app_handlers import Handler, hook, unhook
from ...scene.asset_marking import renew_feet
from . import state
from .results import keep
from .state import current
from .timer import tick, wake


def begin() -> None:
    """On registration. Starts nothing."""
    state.begin()
    for call, moments in _handlers():
        hook(call, moments)


def end() -> None:
    """On unregistration: ends the backend and the timer."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for call, moments in _handlers():
        unhook(call, moments)
    ended = state.end()
    ended.importer.give_up()
    ended.unsaved = ()
    keep(ended)
    for task in ended.tasks.values():
        task.cancel()
    ended.runner.close()
    ended.preparer.shutdown(wait=False, cancel_futures=True)
    ended.keeper.close()


def _handlers() -> Iterator[tuple[Handler, Sequence[list[Handler]]]]:
    """What Blender is to call when."""
    at = bpy.app.handlers
    yield _before_change, (at.undo_pre, at.redo_pre, at.load_pre, at.save_pre)
    yield _after_undo, (at.undo_post, at.redo_post)
    yield _renew_feet, (at.save_pre,)
    yield _is_saved, (at.save_post, at.load_post)
    yield _after_update, (at.depsgraph_update_post,)


@bpy.app.handlers.persistent
def _before_change(*_: object) -> None:
    """Nothing half-made goes into a file or stays where an undo leaves it."""
    current().importer.give_up()


@bpy.app.handlers.persistent
def _renew_feet(*_: object) -> None:
    renew_feet()


@bpy.app.handlers.persistent
def _after_undo(*_: object) -> None:
    current().importer.undone()
    current().note = ""
    wake()


@bpy.app.handlers.persistent
def _after_update(_: object, graph: bpy.types.Depsgraph) -> None:
    importer = current().importer
    if importer.is_busy:
        updates = (one for one in graph.updates if one.is_updated_geometry)
        importer.changed(one.id.original for one in updates if isinstance(one.id, bpy.types.Mesh))


@bpy.app.handlers.persistent
def _is_saved(*_: object) -> None:
    """What was placed is in a file now, or was left with the file that was open."""
    current().unsaved, current().note = (), ""
    wake()
