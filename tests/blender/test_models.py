"""The list of models with the backend's real command and a hub on the loopback."""

import json
import threading
from pathlib import Path

import bpy
import pytest

from blender_trellis.backend_settings import backend_settings
from blender_trellis.jobs import session
from blender_trellis.ui.models import rows as models
from tests.hub_server import COMMIT, Hub
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
REAL = ROOT / ".venv" / "bin" / "python"
PIPELINE = (ROOT / "backend" / "weights" / "starter" / "pipeline.json").read_bytes()
FLOW = "ckpts/flow.safetensors"
LARGE = bytes(range(256)) * 100_000

pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the backend's environment is not set up")


@pytest.fixture
def hub():
    with Hub({"owner/small": {"pipeline.json": PIPELINE, FLOW: LARGE}}) as hub:
        yield hub


@pytest.fixture
def listed(hub, tmp_path, monkeypatch):
    """The add-on with a catalogue of one small model, online."""
    import blender_trellis

    files = [
        {"path": path, "size_bytes": len(data)} for path, data in hub.repositories["owner/small"].items()
    ]
    entry = {"name": "small", "kind": "model", "origin": "published", "label": "Small", "licence": "MIT"}
    entry |= {"about": "A model", "place": "small", "repository": "owner/small", "revision": COMMIT}
    entry |= {"files": files, "takes": ["pictures"], "gives": ["mesh"]}
    (tmp_path / "catalogue.json").write_text(json.dumps([entry]))
    monkeypatch.setenv("TRELLIS_CATALOGUE", str(tmp_path / "catalogue.json"))
    monkeypatch.setenv("TRELLIS_PYTHON", str(REAL))
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    bpy.context.preferences.system.use_online_access = True
    blender_trellis.register()
    yield tmp_path / "models"
    blender_trellis.unregister()
    bpy.context.preferences.system.use_online_access = False


def _pump_until_ended() -> None:
    wait_until(lambda: session.task("models").done, meanwhile=session.timer.tick)
    session.timer.tick()


def _where() -> str:
    models._listed.cache_clear()
    return next(row for row in models.rows() if row.name == "small").found.where


def test_a_model_is_downloaded_used_verified_and_deleted(listed):
    assert _where() == "absent" and session.model_info("small") is None
    assert bpy.ops.trellis.download_model(name="small") == {"FINISHED"}
    assert not bpy.ops.trellis.verify_model.poll()  # while another is being worked on
    _pump_until_ended()
    assert str(session.task("models").result) == "Small is here." and session.task("models").error is None
    assert _where() == "folder" and session.model_info("small").takes == ("pictures",)
    (listed / "small" / FLOW).write_bytes(b"?" + LARGE[1:])
    bpy.ops.trellis.verify_model(name="small")
    _pump_until_ended()
    assert f"{listed / 'small' / FLOW} is damaged" in str(session.task("models").error)
    bpy.ops.trellis.delete_model(name="small")
    _pump_until_ended()
    assert str(session.task("models").result) == "Small was deleted."
    assert _where() == "absent" and session.model_info("small") is None


def test_a_stopped_download_goes_on(listed, hub):
    hub.gated, hub.gate = FLOW, threading.Event()
    bpy.ops.trellis.download_model(name="small")
    wait_until(lambda: session.task("models").fraction > 0.3, meanwhile=session.timer.tick)
    assert session.task("models").words == "10 of 26 MB"
    bpy.ops.trellis.cancel_task(name="models")
    _pump_until_ended()
    assert session.task("models").cancelled and _where() == "arriving"
    hub.gated = ""
    hub.gate.set()
    hub.asked.clear()
    bpy.ops.trellis.download_model(name="small")
    _pump_until_ended()
    assert _where() == "folder" and hub.ranges(FLOW)[0].startswith("bytes=")


def test_a_download_that_fails_says_why_and_the_next_one_takes_its_place(listed, hub):
    small = hub.repositories.pop("owner/small")
    bpy.ops.trellis.download_model(name="small")
    _pump_until_ended()
    assert "does not have small at its pinned version" in str(session.task("models").error)
    hub.repositories["owner/small"] = small
    bpy.ops.trellis.download_model(name="small")
    _pump_until_ended()
    assert session.task("models").error is None and _where() == "folder"


def test_nothing_is_downloaded_without_online_access(listed):
    bpy.context.preferences.system.use_online_access = False
    assert not bpy.ops.trellis.download_model.poll()
    assert bpy.ops.trellis.import_models.poll()


def test_a_folder_is_imported_without_a_network(listed, tmp_path, hub):
    hub.status = 503
    source = ROOT / "backend" / "weights" / "starter-text"
    bpy.ops.trellis.import_models(directory=str(source), link=True)
    _pump_until_ended()
    assert str(session.task("models").result) == "Imported starter-text."
    assert (listed / "starter-text").is_symlink() and backend_settings().models == listed
    bpy.ops.trellis.import_models(directory=str(tmp_path))
    _pump_until_ended()
    assert "holds no model" in str(session.task("models").error)
