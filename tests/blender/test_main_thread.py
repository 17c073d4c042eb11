"""How much a turn of the timer does on the main thread while a job is sampled: counted, not timed."""

import sys
from collections import Counter

import bpy

from blender_trellis.jobs import session
from tests.waiting import wait_until

MOST_CALLS = 3200  # of Python functions in a turn: 100 for each of the 32 messages that it takes at most
NOT_HERE = ("numpy", "json", "blender_trellis.protocol.framing", "blender_trellis.jobs.results")


def _turn() -> Counter[str]:
    """One turn of the timer: the functions that it called, by module and name."""
    called: Counter[str] = Counter()

    def note(frame, event, argument):
        if event == "call":
            called[f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_name}"] += 1
        elif event == "c_call":
            called[f"{argument.__module__ or ''}.{argument.__name__}"] += 1

    sys.setprofile(note)
    try:
        session.timer.tick()
    finally:
        sys.setprofile(None)
    return called


def test_a_turn_while_sampling_decodes_writes_and_touches_nothing(addon, picture):
    bpy.context.scene.trellis.picture = str(picture(b"steady"))
    bpy.ops.trellis.generate()
    wait_until(session.growing, meanwhile=session.timer.tick)
    updates: list[object] = []
    bpy.app.handlers.depsgraph_update_post.append(lambda *_: updates.append(1))
    turns, parts = [], []

    def turn() -> bool:
        turns.append(_turn())
        parts.append(len(session.state.current().runner.queue.jobs[0].parts))
        return session.status().stage != "sparse_structure"

    try:
        wait_until(turn)
    finally:
        bpy.app.handlers.depsgraph_update_post.pop()
    assert parts[-1] - parts[0] > 10  # previews came meanwhile, each of them with arrays
    assert max(turn.total() for turn in turns) < MOST_CALLS
    called = set().union(*turns)
    assert not [name for name in called if name.startswith(NOT_HERE) or name in ("io.open", "_io.open")]
    assert not updates and not bpy.data.objects
