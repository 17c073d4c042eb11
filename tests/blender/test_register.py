"""The add-on leaves nothing behind, does nothing at import, and can be switched on and off at will."""

import subprocess
import sys
from pathlib import Path

import bpy

import blender_trellis

ROOT = Path(__file__).resolve().parents[2]


def _traces() -> set[str]:
    """Everything in Blender that an add-on could have left."""
    found = {f"type {name}" for name in dir(bpy.types)}
    found |= {f"operator {name}" for name in dir(bpy.ops.trellis)}
    found |= {f"scene {prop.identifier}" for prop in bpy.types.Scene.bl_rna.properties}
    for name in dir(bpy.app.handlers):
        held = getattr(bpy.app.handlers, name)
        found |= {f"handler {name} {function}" for function in (held if isinstance(held, list) else ())}
    return found


def test_register_twice_leaves_nothing():
    from blender_trellis.jobs import session

    before = _traces()
    for _ in range(2):
        blender_trellis.register()
        assert hasattr(bpy.types, "TRELLIS_PT_main") and bpy.context.scene.trellis.seed == 1
        assert _traces() != before
        blender_trellis.unregister()
    assert _traces() == before
    assert not any("trellis" in trace.lower() for trace in before)
    assert not bpy.app.timers.is_registered(session.timer.tick)


def test_it_ends_where_a_script_has_cleared_blenders_handlers():
    before = _traces()
    blender_trellis.register()
    for name in dir(bpy.app.handlers):
        held = getattr(bpy.app.handlers, name)
        if isinstance(held, list):
            held[:] = [one for one in held if "trellis" not in getattr(one, "__module__", "")]
    blender_trellis.unregister()
    assert _traces() == before


def test_import_needs_no_blender():
    """The backend imports the protocol from the package, in a Python without bpy."""
    code = "import sys; sys.modules['bpy'] = None; import blender_trellis, blender_trellis.protocol"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


def test_registration_starts_no_process_and_no_thread(fake_python):
    import threading

    from blender_trellis.jobs import session

    threads = threading.active_count()
    blender_trellis.register()
    try:
        assert not session.is_running()
        assert threading.active_count() == threads
        assert not bpy.app.timers.is_registered(session.timer.tick)
    finally:
        blender_trellis.unregister()
