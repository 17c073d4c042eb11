"""Installing and self-testing: in the background, told of while they run, stopped when asked to."""

import threading

import bpy
import pytest

from blender_trellis.faults import Fault
from blender_trellis.jobs import session
from tests.waiting import PATIENCE, wait_until


def _pump_until(condition) -> None:
    wait_until(condition, meanwhile=session._tick)


def test_the_self_test_says_how_it_went(addon):
    assert bpy.ops.trellis.self_test() == {"FINISHED"}
    assert not session.task("self-test").done and not bpy.ops.trellis.self_test.poll()
    _pump_until(lambda: session.task("self-test").done)
    assert session.task("self-test").result == "All 1 checks passed."


def test_a_self_test_can_be_stopped(addon):
    session.run_self_test("slow", "torch")
    bpy.ops.trellis.cancel_task(name="self-test")
    _pump_until(lambda: session.task("self-test").done)
    assert session.task("self-test").cancelled


def test_nothing_is_installed_without_online_access(addon):
    assert not bpy.app.online_access
    assert not bpy.ops.trellis.install_backend.poll()


def test_an_installation_is_told_of_while_it_runs(addon, monkeypatch):
    go_on = threading.Event()

    def install(target, root, accelerator, on_progress, cancel):
        assert target.is_dir() and (root / "blender_manifest.toml").exists()
        on_progress(0.5, f"half of {accelerator}")
        go_on.wait(PATIENCE)
        return target / "python"

    monkeypatch.setattr(session, "install", install)
    session.install_backend("cpu")
    _pump_until(lambda: session.task("install").fraction == 0.5)
    assert session.task("install").words == "half of cpu"
    go_on.set()
    _pump_until(lambda: session.task("install").done)
    assert "Installed" in session.task("install").result


@pytest.mark.parametrize("error", [Fault("The disk is full: free some space."), ZeroDivisionError("a bug")])
def test_an_installation_that_fails_says_why(addon, monkeypatch, error):
    def install(*_, **__):
        raise error

    monkeypatch.setattr(session, "install", install)
    session.install_backend("cpu")
    _pump_until(lambda: session.task("install").done)
    assert session.task("install").error is error


def test_the_timer_ends_when_there_is_nothing_to_watch(addon):
    session.run_self_test("cpu", "torch")
    _pump_until(lambda: session.task("self-test").done)
    assert session._tick() is None
