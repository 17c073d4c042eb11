"""Installing and self-testing: in the background, told of while they run, stopped when asked to."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import bpy
import pytest

from blender_trellis.backend_settings import backend_settings
from blender_trellis.extension_paths import user_folder
from blender_trellis.faults import Fault
from blender_trellis.install.backend_install import Wanted
from blender_trellis.jobs import session
from blender_trellis.protocol import CutOut, Hello
from tests.waiting import PATIENCE, wait_until


def _pump_until(condition) -> None:
    wait_until(condition, meanwhile=session.timer.tick)


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


WANTED = Wanted("cpu")


def test_an_installation_is_told_of_while_it_runs(addon, monkeypatch):
    go_on = threading.Event()

    def install(target, root, wanted, on_progress, cancel):
        assert target.is_dir() and (root / "blender_manifest.toml").exists()
        on_progress(0.5, f"half of {wanted.build}")
        go_on.wait(PATIENCE)
        return target / "python"

    monkeypatch.setattr(session.tasks, "install", install)
    session.install_backend(WANTED)
    _pump_until(lambda: session.task("install").fraction == 0.5)
    assert session.task("install").words == "half of cpu"
    assert not bpy.ops.trellis.install_backend.poll() and not bpy.ops.trellis.remove_backend.poll()
    go_on.set()
    _pump_until(lambda: session.task("install").done)
    assert "Installed" in session.task("install").result


@pytest.mark.parametrize("error", [Fault("The disk is full: free some space."), ZeroDivisionError("a bug")])
def test_an_installation_that_fails_says_why(addon, monkeypatch, error):
    def install(*_, **__):
        raise error

    monkeypatch.setattr(session.tasks, "install", install)
    session.install_backend(WANTED)
    _pump_until(lambda: session.task("install").done)
    assert session.task("install").error is error


def test_no_job_starts_while_the_backend_is_installed(addon, monkeypatch, picture):
    go_on = threading.Event()

    def install(target, root, wanted, on_progress, cancel):
        go_on.wait(PATIENCE)
        return target / "python"

    monkeypatch.setattr(session.tasks, "install", install)
    bpy.context.scene.trellis.picture = str(picture())
    bpy.ops.trellis.generate()
    session.install_backend(WANTED)
    session.ask_cut_out(CutOut(""), "key")
    for _ in range(3):
        session.timer.tick()
    assert not session.is_running() and "being installed" in session.cut_out().fault
    assert session.status().words == session.held() == "Waits while the backend is installed or removed"
    go_on.set()
    assert session.pump_until_done(PATIENCE)
    assert "crate" in bpy.data.collections and not session.held()


def test_a_stopped_queue_says_so_and_keeps_nobody_busy(addon, picture):
    bpy.context.scene.trellis.picture = str(picture())
    bpy.ops.trellis.generate()
    session.stop_backend()
    assert session.pump_until_done(PATIENCE) and not session.is_running()
    assert session.status().words == "Stopped: goes on with the next job" and session.listed_jobs()


def test_a_folder_that_cannot_be_written_is_a_sentence(addon, monkeypatch):
    """For a button, and for what is stored while jobs run."""
    bpy.context.preferences.system.use_online_access = True
    monkeypatch.setenv("HOME", "/dev/null")
    try:
        for press in (bpy.ops.trellis.install_backend, bpy.ops.trellis.open_folder):
            with pytest.raises(RuntimeError) as told:
                press("EXEC_DEFAULT")
            assert str(told.value).startswith("Error: The folder /dev/null/.cache/trellis cannot be made (")
            assert "Traceback" not in str(told.value)
        assert session.task("install") is None and not session.held()
        session.state.current().runner.hello = Hello(1, "", "", "")
        session.timer.tick()
        assert session.status().fault.startswith("The folder /dev/null/.cache/trellis cannot be made (")
        assert bpy.ops.trellis.remove_backend() == {"FINISHED"}
        _pump_until(lambda: session.task("install").done)
        assert session.task("install").error is None
    finally:
        bpy.context.preferences.system.use_online_access = False


def test_removing_says_what_it_gave_back(addon):
    user = user_folder(create=True)
    (user / "backend-venv").mkdir()
    (user / "backend-venv" / "large").write_bytes(bytes(3 << 20))
    assert bpy.ops.trellis.remove_backend() == {"FINISHED"}
    _pump_until(lambda: session.task("install").done)
    assert session.task("install").result == "Removed: 3 MB of disk are free again"
    assert not (user / "backend-venv").exists()


def test_nothing_is_removed_or_replaced_under_a_process_that_still_ends(addon, monkeypatch, picture):
    """On Windows its files cannot be deleted, and half of them would be gone."""
    still_there = []
    for press, name in (
        (session.remove_backend, "remove"),
        (lambda: session.install_backend(WANTED), "install"),
    ):
        bpy.context.scene.trellis.picture = str(picture(b"slow"))
        bpy.ops.trellis.generate()
        _pump_until(lambda: session.status().stage == "sparse_structure")
        process = session.state.current().runner._process._process

        def changed(*_, process=process):
            still_there.append(process.poll() is None)
            return 0

        monkeypatch.setattr(session.tasks, name, changed)
        press()
        assert not bpy.ops.trellis.remove_backend.poll()
        _pump_until(lambda: session.task("install").done)
        session.timer.tick()
    assert still_there == [False, False]


def test_what_runs_in_the_backends_python_goes_before_its_removal(addon):
    session.run_self_test("slow", "torch")
    assert not bpy.ops.trellis.remove_backend.poll()
    bpy.ops.trellis.cancel_task(name="self-test")
    _pump_until(lambda: session.task("self-test").done)
    assert bpy.ops.trellis.remove_backend.poll()


def test_a_python_without_the_packages_is_not_called_installed(addon, monkeypatch, tmp_path):
    """What is set may be any Python, or none at all; it is asked once."""
    monkeypatch.setenv("TRELLIS_PYTHON", sys.executable)
    assert session.backend_python(fresh=True) == Path(sys.executable)
    _pump_until(session.backend_health)
    assert not session.backend_health().is_right
    sentence = session.backend_health().sentence
    assert "packages are missing (" in sentence and "mend it, or choose another Python" in sentence
    monkeypatch.setenv("TRELLIS_PYTHON", str(tmp_path / "nowhere"))
    session.backend_python(fresh=True)
    _pump_until(session.backend_health)
    assert "nowhere does not start (No such file or directory)" in session.backend_health().sentence


def test_the_timer_ends_when_there_is_nothing_to_watch(addon):
    session.run_self_test("cpu", "torch")
    _pump_until(lambda: session.task("self-test").done)
    assert session.timer.tick() is None


def test_a_backend_elsewhere_needs_nothing_installed_here(addon, fake_python, picture, monkeypatch):
    monkeypatch.setenv("TRELLIS_PYTHON", "/nowhere/python")
    chosen = replace(backend_settings(), command=f"'{fake_python}' serve")
    monkeypatch.setattr(session.backend, "backend_settings", lambda: chosen)
    assert session.has_backend()
    bpy.context.scene.trellis.picture = str(picture())
    assert bpy.ops.trellis.generate() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE)
    assert not session.status().fault and any(item.type == "MESH" for item in bpy.data.objects)


def test_an_idle_backend_ends_by_itself(addon, picture, monkeypatch):
    bpy.context.scene.trellis.picture = str(picture())
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE) and session.is_running()
    chosen = replace(backend_settings(), idle_minutes=1)
    monkeypatch.setattr(session.timer, "backend_settings", lambda: chosen)
    session.timer.tick()
    assert session.is_running()
    session.state.current().runner._worked -= 61
    assert session.timer.tick() is None and not session.is_running()
    assert session.status().backend == ("Ended after some idle time; starts when it is needed",)
