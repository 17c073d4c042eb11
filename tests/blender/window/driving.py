"""What every script that uses the installed add-on in a windowed Blender needs: a plan, a report, a clock.

The plan names the folder for screenshots and the file for the report.
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


def until(done) -> Iterator[float]:
    """Waits for a condition, in turns of Blender's own loop."""
    deadline = time.monotonic() + PLAN["seconds"]
    while not done() and time.monotonic() < deadline:
        yield 0.05


def is_idle() -> bool:
    """Whether no job runs or waits, and all that was made is in the scene."""
    return not session().timer.is_busy(session().state.current())


def show_tab() -> Iterator[float]:
    """Opens the add-on's tab in the sidebar."""
    with window_context():
        bpy.context.area.spaces.active.show_region_ui = True
    yield 1.0
    with window_context():
        bpy.context.region.active_panel_category = "TRELLIS"
    yield 1.0


def child():
    """The backend's process."""
    return session().state.current().runner._process._process


def kill_backend() -> None:
    os.kill(child().pid, signal.SIGKILL)


def run(scenario: Iterator[float]) -> None:
    """Goes through the scenario, each yield of which hands the main thread back for so many seconds.

    Ends Blender after it, or after a fault in it.
    """

    def step() -> float | None:
        try:
            return next(scenario)
        except StopIteration:
            report["finished"] = True
        except Exception:  # noqa: BLE001 (the report is how it gets out)
            report["error"] = traceback.format_exc()
            screenshot("error")
        Path(PLAN["report"]).write_text(json.dumps(report, indent=2))
        os._exit(0)

    bpy.context.preferences.view.show_splash = False
    # Without a graphics card a redraw takes half a second, and smoothing redraws eight times.
    bpy.context.preferences.system.viewport_aa = "OFF"
    bpy.app.timers.register(count_turn, first_interval=0.0, persistent=True)
    bpy.app.timers.register(step, first_interval=3.0, persistent=True)
