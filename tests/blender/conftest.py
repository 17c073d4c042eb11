"""Blender's own Python in this process (the bpy wheel), an empty scene for every test, and a fake backend."""

import os
import stat
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

STATUS = pytest.StashKey[int]()
bpy = pytest.importorskip("bpy", reason="needs the bpy module: run with .venv-blender/bin/python -m pytest")


def pytest_sessionfinish(session, exitstatus):
    """Keeps what the run ends with for the hook below."""
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """Leaves before Blender's module frees what it holds, for that goes wrong: 4.2 crashes wherever a
    property with a callback was registered, and 4.5 may wait for ever for a thread of its own."""
    if STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[STATUS])


@pytest.fixture(autouse=True)
def empty_scene():
    """Every test begins with nothing in the file."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    yield


@pytest.fixture
def fake_python(tmp_path, monkeypatch):
    """An interpreter, as far as the add-on can tell, whose backend is fake_backend.py."""
    path = tmp_path / "python"
    path.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "fake_backend.py"}" "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("TRELLIS_PYTHON", str(path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return path


@pytest.fixture
def picture(tmp_path):
    """Makes a picture file whose bytes after the first tell the fake backend what to do."""
    from blender_trellis.protocol.pictures import PNG

    def make(data: bytes = b"ball", name: str = "crate.png") -> Path:
        path = tmp_path / name
        path.write_bytes(PNG + data)
        return path

    return make


@pytest.fixture
def addon(fake_python):
    """The add-on, registered."""
    import blender_trellis

    blender_trellis.register()
    yield blender_trellis
    blender_trellis.unregister()
