"""Runs inside a windowed Blender: uses the installed add-on as a person would, and writes down what happened.

    blender --python drive.py -- PLAN.json

The plan names the folder for screenshots, the pictures and the file for the report.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from driving import (
    ADDON,
    PLAN,
    child,
    is_idle,
    kill_backend,
    report,
    run,
    screenshot,
    session,
    show_tab,
    turns,
    until,
    window_context,
)


def generate(picture: str) -> None:
    with window_context():
        bpy.context.scene.trellis.picture = PLAN[picture]
        bpy.ops.trellis.generate()


def names() -> list[str]:
    return sorted(item.name for item in bpy.data.objects)


def scenario() -> Iterator[float]:
    """Each yield hands the main thread back to Blender for so many seconds."""
    report["enabled"] = ADDON in bpy.context.preferences.addons
    yield from show_tab()
    screenshot("1_tab")
    yield from one_object()
    yield from cancelled()
    yield from killed()
    yield from another_file()
    yield from switched_off()


def one_object() -> Iterator[float]:
    bpy.ops.object.select_all(action="DESELECT")
    before = names()
    yield 2.0
    turns.clear()
    generate("picture")
    yield from until(lambda: session().status().stage == "sparse_structure")
    yield 0.3
    report["words"] = session().status().words
    report["turns_while_starting"] = len(turns)
    screenshot("2_running")
    turns.clear()
    yield from until(is_idle)
    yield 0.5
    report["turns"] = len(turns)
    report["made"] = [name for name in names() if name not in before]
    report["selected"] = sorted(item.name for item in bpy.context.selected_objects)
    report["fault"] = session().status().fault
    for area in bpy.context.window_manager.windows[0].screen.areas:
        if area.type == "VIEW_3D":
            area.spaces.active.shading.type = "SOLID"
            area.spaces.active.shading.color_type = "VERTEX"
    with window_context():
        region = next(region for region in bpy.context.area.regions if region.type == "WINDOW")
        with bpy.context.temp_override(region=region):
            bpy.ops.view3d.view_selected()
    yield 1.0
    screenshot("3_result")
    with window_context():
        bpy.ops.trellis.show("EXEC_DEFAULT", True, kind="gaussian")
    yield 1.0
    screenshot("4_gaussians")
    with window_context():
        bpy.ops.ed.undo()  # what show did
    yield 0.5
    with window_context():
        bpy.ops.ed.undo()  # the result
    yield 0.5
    report["after_undo"] = names()
    with window_context():
        bpy.ops.ed.redo()
    yield 0.5
    report["after_redo"] = names()
    report["before"] = before


def cancelled() -> Iterator[float]:
    generate("slow")
    yield from until(lambda: session().status().stage == "sparse_structure")
    with window_context():
        bpy.ops.trellis.cancel()
    yield from until(is_idle)
    report["idle_after_cancel"] = is_idle()
    report["alive_after_cancel"] = session().is_running()


def killed() -> Iterator[float]:
    generate("slow")
    yield from until(lambda: session().status().stage == "sparse_structure")
    kill_backend()
    yield from until(is_idle)
    report["fault_after_kill"] = session().status().fault
    report["log_after_kill"] = list(session().status().log)
    yield 0.5
    screenshot("5_killed")
    before = names()
    generate("picture")
    yield from until(is_idle)
    report["made_after_kill"] = [name for name in names() if name not in before]


def another_file() -> Iterator[float]:
    generate("picture")
    yield 0.2
    bpy.ops.wm.read_homefile(use_empty=False, load_ui=False)
    report["names_in_new_file"] = names()
    yield from until(is_idle)
    yield 0.5
    report["made_in_new_file"] = [name for name in names() if name not in report["names_in_new_file"]]
    turns_before = len(turns)
    yield 0.5
    report["timers_after_load"] = len(turns) - turns_before


def switched_off() -> Iterator[float]:
    """In the middle of a job, and on again."""
    generate("slow")
    yield from until(lambda: session().status().stage == "sparse_structure")
    process = child()
    bpy.ops.preferences.addon_disable(module=ADDON)
    yield from until(lambda: process.poll() is not None)
    report["child_after_disable"] = process.poll()
    report["left_after_disable"] = [name for name in dir(bpy.types) if "trellis" in name.lower()]
    report["left_after_disable"] += ["scene"] * hasattr(bpy.types.Scene, "trellis")
    bpy.ops.preferences.addon_enable(module=ADDON)
    yield 0.5
    before = names()
    generate("picture")
    yield from until(is_idle)
    yield 0.5
    report["made_after_enable"] = [name for name in names() if name not in before]


run(scenario())
