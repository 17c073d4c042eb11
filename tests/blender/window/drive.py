"""Runs inside a windowed Blender: uses the installed add-on as a person would, and writes down what happened.

    blender --python drive.py -- PLAN.json

The plan names the folder for screenshots, the pictures and the file for the report.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import bpy

PLAN = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text())
ADDON = "bl_ext.user_default.trellis"
report: dict[str, object] = {"version": bpy.app.version_string}
turns: list[float] = []  # when the main thread came round


def count_turn() -> float:
    """A timer of our own: it does not fire while the window is frozen."""
    turns.append(time.monotonic())
    return 0.01


def session():
    return importlib.import_module(f"{ADDON}.blender_trellis.jobs.session")


def window_context():
    """What operators see when a button in the 3D view's sidebar is pressed."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "UI")
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)


def screenshot(name: str) -> None:
    path = Path(PLAN["shots"]) / f"{name}.png"
    subprocess.run(["import", "-window", "root", str(path)], check=False, timeout=30)


def generate(picture: str) -> None:
    with window_context():
        bpy.context.scene.trellis.picture = PLAN[picture]
        bpy.ops.trellis.generate()


def until(done) -> Iterator[float]:
    """Waits for a condition, in turns of Blender's own loop."""
    deadline = time.monotonic() + PLAN["seconds"]
    while not done() and time.monotonic() < deadline:
        yield 0.05


def is_idle() -> bool:
    return not session().status().job


def names() -> list[str]:
    return sorted(item.name for item in bpy.data.objects)


def scenario() -> Iterator[float]:
    """Each yield hands the main thread back to Blender for so many seconds."""
    report["enabled"] = ADDON in bpy.context.preferences.addons
    with window_context():
        bpy.context.area.spaces.active.show_region_ui = True
    yield 1.0
    with window_context():
        bpy.context.region.active_panel_category = "TRELLIS"
    yield 1.0
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
    os.kill(session()._current().runner._process._process.pid, signal.SIGKILL)
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
    child = session()._current().runner._process._process
    bpy.ops.preferences.addon_disable(module=ADDON)
    yield from until(lambda: child.poll() is not None)
    report["child_after_disable"] = child.poll()
    report["left_after_disable"] = [name for name in dir(bpy.types) if "trellis" in name.lower()]
    report["left_after_disable"] += ["scene"] * hasattr(bpy.types.Scene, "trellis")
    bpy.ops.preferences.addon_enable(module=ADDON)
    yield 0.5
    before = names()
    generate("picture")
    yield from until(is_idle)
    yield 0.5
    report["made_after_enable"] = [name for name in names() if name not in before]


running = scenario()


def step() -> float | None:
    """Goes on with the scenario; ends Blender after it, or after a fault in it."""
    try:
        return next(running)
    except StopIteration:
        report["finished"] = True
    except Exception:  # noqa: BLE001 (the report is how it gets out)
        report["error"] = traceback.format_exc()
        screenshot("error")
    Path(PLAN["report"]).write_text(json.dumps(report, indent=2))
    os._exit(0)


bpy.context.preferences.view.show_splash = False
# Without a graphics card a redraw of the 3D view takes half a second, and smoothing redraws it eight times.
bpy.context.preferences.system.viewport_aa = "OFF"
bpy.app.timers.register(count_turn, first_interval=0.0, persistent=True)
bpy.app.timers.register(step, first_interval=3.0, persistent=True)
