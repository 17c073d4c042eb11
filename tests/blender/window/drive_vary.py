"""Runs inside a windowed Blender: recolours and varies the cube that a new file has, and undoes both.

blender --python drive_vary.py -- PLAN.json
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from driving import is_idle, report, run, screenshot, session, show_tab, until, window_context


def state() -> list[list[str]]:
    """The colours that the cube has, and the collections of the file."""
    colors = [one.name for one in bpy.data.objects["Cube"].data.color_attributes]
    return [colors, sorted(one.name for one in bpy.data.collections)]


def pressed(name: str, button) -> Iterator[float]:
    """Presses a button and waits for its result, then undoes and redoes that."""
    with window_context():
        button("INVOKE_DEFAULT", True)
    yield from until(is_idle)
    yield 1.0
    screenshot(name)
    report[f"{name}_fault"] = session().status().fault
    told = [state()]
    for operator in (bpy.ops.ed.undo, bpy.ops.ed.redo):
        with window_context():
            operator()
        yield 0.5
        told.append(state())
    report[name] = told


def scenario() -> Iterator[float]:
    yield from show_tab()
    settings = bpy.context.scene.trellis.vary
    settings.guide, settings.image = "PICTURE", bpy.data.images.new("red", 4, 4)
    bpy.ops.ed.undo_push(message="Set")
    report["before"] = state()
    yield from pressed("retexture", bpy.ops.trellis.retexture)
    yield from pressed("vary", bpy.ops.trellis.vary)


run(scenario())
