"""What stands in the way of a job before it starts, what made one fail, and the buttons that mend it."""

from dataclasses import replace
from pathlib import Path

import bpy
import pytest

from blender_trellis.backend_settings import backend_settings
from blender_trellis.catalogue.entries import entries, find_entry
from blender_trellis.jobs import hindrance as module
from blender_trellis.jobs import session
from blender_trellis.jobs.hindrance import full_disk, hindrance
from blender_trellis.ui.operators import why_not_generate
from tests.waiting import wait_until


@pytest.fixture
def models(addon, tmp_path, monkeypatch):
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def _put(name: str, models: Path, besides: str = "") -> None:
    """The files of an entry, all empty, but for one."""
    entry = find_entry(name, entries())
    for file in entry.files:
        path = models / entry.place / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.path != besides:
            path.touch()


def _said(model: str) -> str:
    module._of_model.cache_clear()
    found = hindrance(model)
    return found.sentence if found is not None else ""


@pytest.mark.parametrize("name", ["TRELLIS-image-large", "microsoft/TRELLIS-image-large"])
def test_a_model_that_is_not_here_is_named_with_its_size(models, picture, name):
    settings = bpy.context.scene.trellis
    settings.picture, settings.model = str(picture()), name
    said = _said(name)
    assert said == "TRELLIS image large is not on this machine and must be downloaded (4.5 GB)"
    assert why_not_generate(bpy.context) == said and not bpy.ops.trellis.generate.poll()
    settings.model = "starter"
    assert why_not_generate(bpy.context) == ""


def test_a_part_that_is_missing_is_named(models):
    _put("TRELLIS-image-large", models)
    assert _said("TRELLIS-image-large") == (
        "TRELLIS image large needs DINOv2 large, which must be downloaded (1.2 GB)"
    )
    _put("dinov2-with-registers-large", models)
    assert _said("TRELLIS-image-large") == ""
    (models / "TRELLIS-image-large" / "pipeline.json").unlink()
    assert _said("TRELLIS-image-large") == (
        "TRELLIS image large is not complete: pipeline.json is missing or cut off"
    )


def test_what_may_run_is_not_refused(models, tmp_path, monkeypatch):
    """A model of one's own, a folder, and one whose parts lie in a download cache."""
    assert _said("starter") == _said("my model") == _said(str(tmp_path)) == ""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("microsoft/TRELLIS-image-large", "facebook/dinov2-with-registers-large"):
        entry = find_entry(name, entries())
        for file in entry.files:
            path = tmp_path / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / "one" / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert _said("TRELLIS-image-large") == ""


def test_a_backend_elsewhere_judges_its_own_models(models, tmp_path, monkeypatch):
    chosen = replace(backend_settings(), command="ssh gpubox trellis-backend")
    monkeypatch.setattr(module, "backend_settings", lambda: chosen)
    assert _said("TRELLIS-image-large") == ""
    full = full_disk(tmp_path, 0)
    monkeypatch.setattr(module, "_of_disk", lambda folder, moment: full)
    assert _said("TRELLIS-image-large") == full.sentence


def test_a_full_disk_is_told_with_what_is_left(tmp_path):
    assert full_disk(tmp_path, 1 << 30) is None
    found = full_disk(tmp_path, 5_000_000)
    assert found.sentence == f"The disk of {tmp_path} has 5 MB left: free some space"
    assert found.remedy == "make_room"


def test_want_of_memory_comes_with_the_setting_that_mends_it(addon, picture):
    bpy.context.scene.trellis.picture = str(picture(b"large"))
    bpy.ops.trellis.generate()
    assert session.pump_until_done(60)
    assert "needs about 9.0 GB" in session.status().fault and session.remedy() == "half_precision"
    session.dismiss()
    assert session.remedy() == ""


def test_jobs_run_as_the_preferences_say_when_they_begin(addon, picture, monkeypatch):
    """Those that wait, and those that are run again, after a button has mended what made one fail."""
    for data in (b"large", b"ball"):
        bpy.context.scene.trellis.picture = str(picture(data))
        bpy.ops.trellis.generate()
    wait_until(session.remedy, meanwhile=session.timer.tick)
    chosen = replace(backend_settings(), precision="bfloat16", memory="release")
    monkeypatch.setattr(session.backend, "backend_settings", lambda: chosen)
    (failed, *_) = session.listed_jobs()
    session.retry(failed.id)
    assert session.pump_until_done(60)
    asked = [one.request for one in session.state.current().ended if one.listed.id != failed.id]
    assert asked[-1].precision == "bfloat16" and asked[-1].memory == "release"


def test_a_refusal_takes_the_place_of_the_last_fault(addon, picture, tmp_path):
    """One picture fails in the backend; the next is refused before it, and its message stays."""
    settings = bpy.context.scene.trellis
    settings.picture = str(picture(b"bad", "first.png"))
    bpy.ops.trellis.generate()
    assert session.pump_until_done(60)
    assert session.status().fault == "first.png is no picture."
    (tmp_path / "second.png").write_text("words")
    settings.picture = str(tmp_path / "second.png")
    with pytest.raises(RuntimeError, match="second.png"):
        bpy.ops.trellis.generate()
    assert "second.png" in session.status().fault and "first.png" not in session.status().fault
