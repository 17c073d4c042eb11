"""From the button to the scene, with a backend that only pretends: when all goes well, and when not."""

import importlib
import json

import bpy
import pytest

from blender_trellis.backend_settings import BackendSettings
from blender_trellis.extension_paths import user_folder
from blender_trellis.faults import Fault
from blender_trellis.jobs import session
from blender_trellis.protocol import SamplingParams
from tests.homeless import forget_home
from tests.waiting import PATIENCE, wait_until


def _press_generate(path) -> set[str]:
    bpy.context.scene.trellis.picture = str(path)
    return bpy.ops.trellis.generate()


def test_a_click_puts_the_object_into_the_scene(addon, picture):
    settings = bpy.context.scene.trellis
    settings.seed = 42
    settings.sparse_structure.use_custom = True
    settings.sparse_structure.steps = 7
    assert _press_generate(picture()) == {"FINISHED"}
    assert session.status().job and bpy.ops.trellis.generate.poll()  # the next one waits
    assert session.pump_until_done(PATIENCE)
    collection = bpy.data.collections["crate"]
    assert {item.name for item in collection.objects} == {
        "crate",
        "crate Raw",
        "crate Gaussians",
        "crate Root",
    }
    parameters = json.loads(collection["trellis_parameters"])
    assert collection["trellis_seed"] == 42
    assert parameters["sparse_structure"]["steps"] == 7
    assert parameters["structured_latent"]["steps"] is None
    assert len(collection["trellis_picture_hash"]) == len(collection["trellis_model_hash"]) == 64
    assert not session.status().fault


def test_one_click_makes_as_many_results_as_were_asked_for(addon, picture):
    settings = bpy.context.scene.trellis
    settings.results, settings.seed = 3, 8
    _press_generate(picture())
    assert len(session.listed_jobs()) == 3
    assert session.pump_until_done(PATIENCE)
    assert sorted(one["trellis_seed"] for one in bpy.data.collections) == [8, 9, 10]


def test_each_of_several_pictures_becomes_an_object_and_a_broken_one_stops_none(addon, picture):
    paths = [picture(name="one.png"), picture(name="two.png")]
    (paths[0].parent / "text.png").write_text("no picture")
    files = [{"name": name} for name in ("one.png", "text.png", "two.png")]
    with pytest.raises(RuntimeError, match='text.png" is no picture'):
        bpy.ops.trellis.generate_from_files(directory=str(paths[0].parent), files=files)
    assert session.pump_until_done(PATIENCE)
    assert {one.name for one in bpy.data.collections} == {"one", "two"}


def test_only_what_was_asked_for_is_made(addon, picture):
    bpy.context.scene.trellis.formats = {"gaussian"}
    _press_generate(picture())
    assert session.pump_until_done(PATIENCE)
    assert {item.name for item in bpy.data.collections["crate"].objects} == {"crate Gaussians", "crate Root"}


def test_a_dead_backend_is_told_with_its_log_and_starts_again(addon, picture):
    _press_generate(picture(b"die"))
    assert session.pump_until_done(PATIENCE)
    status = session.status()
    assert "stopped" in status.fault and "torch ate all the memory" in "\n".join(status.log)
    assert not session.is_running()
    _press_generate(picture())
    assert session.pump_until_done(PATIENCE)
    assert "crate" in bpy.data.collections and not session.status().fault


@pytest.mark.parametrize("data, words", [(b"bad", "crate.png is no picture."), (b"garbage", "index")])
def test_a_failed_job_says_why_and_leaves_the_scene(addon, picture, data, words):
    _press_generate(picture(data))
    assert session.pump_until_done(PATIENCE)
    assert words in session.status().fault
    assert not bpy.data.objects
    assert session.is_running()
    bpy.ops.trellis.dismiss()
    assert not session.status().fault


def test_cancel_ends_the_job_and_keeps_the_backend(addon, picture):
    _press_generate(picture(b"slow"))
    wait_until(lambda: session.status().stage == "sparse_structure", meanwhile=session.timer.tick)
    bpy.ops.trellis.cancel()
    assert session.pump_until_done(PATIENCE)
    assert not bpy.data.objects and not session.status().fault
    assert session.is_running()


def test_a_new_file_in_the_middle_of_a_job(addon, picture):
    _press_generate(picture(b"slow"))
    session.timer.tick()
    bpy.ops.trellis.cancel()
    assert session.pump_until_done(PATIENCE)
    _press_generate(picture())
    session.timer.tick()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert session.pump_until_done(PATIENCE)
    assert "crate" in bpy.data.collections


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda folder: folder / "none.png", "does not exist"),
        (lambda folder: folder, "folder"),
        (lambda folder: (folder / "empty.png").touch() or folder / "empty.png", "is empty"),
    ],
)
def test_a_picture_that_cannot_be_read_is_a_sentence(addon, tmp_path, make, words):
    with pytest.raises(RuntimeError, match=words):
        _press_generate(make(tmp_path))
    assert not session.status().job


def test_the_button_is_grey_for_a_reason(addon, picture, monkeypatch):
    from blender_trellis.ui import operators

    assert operators.why_not_generate(bpy.context) == "Choose a picture"
    bpy.context.scene.trellis.picture = str(picture())
    assert operators.why_not_generate(bpy.context) == ""
    bpy.context.scene.trellis.formats = set()
    assert operators.why_not_generate(bpy.context) == "Choose at least one output"
    bpy.context.scene.trellis.model = "starter-text"
    bpy.context.scene.trellis.formats = {"mesh"}
    assert "prompt" in operators.why_not_generate(bpy.context)
    monkeypatch.setattr(session.backend, "find_python", lambda *_: None)
    session.backend_python(fresh=True)
    assert "backend" in operators.why_not_generate(bpy.context)


def test_an_image_in_blender_is_a_picture_too(addon, tmp_path):
    from blender_trellis.picture_source import read_image

    image = bpy.data.images.new("painted", 8, 8, alpha=True)
    image.pixels[:] = [0.5] * (8 * 8 * 4)
    assert read_image(image).data.startswith(b"\x89PNG")
    assert [held.name for held in bpy.data.images] == ["painted"]
    image.pack()
    assert read_image(image).data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("space", "shown"),
    # What the stored colour is in sRGB: the same, by the primaries of Display P3, and from linear light.
    [("sRGB", (160, 110, 70)), ("Display P3", (169, 107, 62)), ("Linear Rec.709", (208, 175, 143))],
)
def test_an_image_is_read_in_the_colours_that_blender_shows(addon, tmp_path, space, shown):
    from blender_trellis.picture_source import read_image

    stored = bpy.data.images.new("stored", 20, 20)
    stored.pixels[:] = [160 / 255, 110 / 255, 70 / 255, 1] * 400
    stored.filepath_raw, stored.file_format = str(tmp_path / "stored.png"), "PNG"
    stored.save()
    image = bpy.data.images.load(str(tmp_path / "stored.png"))
    image.colorspace_settings.name = space
    (tmp_path / "read.png").write_bytes(read_image(image).data)
    read = bpy.data.images.load(str(tmp_path / "read.png"))
    read.colorspace_settings.name = "Non-Color"
    assert [value * 255 for value in read.pixels[:3]] == pytest.approx(shown, abs=1.5)
    assert image.colorspace_settings.name == space and not image.is_dirty
    assert len(bpy.data.scenes) == 1


def test_a_random_seed_is_shown(addon, picture):
    bpy.context.scene.trellis.use_random_seed = True
    _press_generate(picture())
    drawn = bpy.context.scene.trellis.seed
    assert session.pump_until_done(PATIENCE)
    assert bpy.data.collections["crate"]["trellis_seed"] == drawn != 1


def test_jobs_wait_for_a_python_that_does_not_start(addon, picture, monkeypatch, fake_python):
    monkeypatch.setenv("TRELLIS_PYTHON", "/nowhere/python")
    _press_generate(picture())
    _press_generate(picture())
    assert session.pump_until_done(PATIENCE)
    assert "/nowhere/python" in session.status().fault and session.remedy() == "resume"
    assert [job.state for job in session.listed_jobs()] == ["queued", "queued"]
    bpy.ops.trellis.resume_jobs()
    assert session.pump_until_done(PATIENCE)
    assert "/nowhere/python" in session.status().fault  # as before
    monkeypatch.setenv("TRELLIS_PYTHON", str(fake_python))
    bpy.ops.trellis.resume_jobs()
    assert session.pump_until_done(PATIENCE)
    assert not session.status().fault
    assert [job.state for job in session.listed_jobs()] == ["finished", "finished"]


def test_a_folder_that_cannot_be_made_is_a_sentence(addon, picture, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    with pytest.raises(RuntimeError, match="trellis cannot be made"):
        _press_generate(picture())
    assert not session.listed_jobs()


def test_an_account_without_a_home_is_a_sentence_where_it_needs_one(addon, picture, monkeypatch, tmp_path):
    forget_home(monkeypatch)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert not user_folder().exists() and session.state.current().keeper.left() == 0
    with pytest.raises(Fault, match="no home folder to write to: set the variable HOME"):
        user_folder(create=True)
    with pytest.raises(RuntimeError, match="no home folder to write to"):
        _press_generate(picture())
    assert not session.listed_jobs() and sorted({*tmp_path.iterdir()} - {tmp_path / "crate.png"}) == before


def test_jobs_that_failed_stay_until_they_are_cleared(addon, picture):
    _press_generate(picture(b"bad"))
    assert session.pump_until_done(PATIENCE)
    for _ in range(14):
        _press_generate(picture())
        session.cancel(session.listed_jobs()[-1].id)
        session.timer.tick()
    states = [job.state for job in session.listed_jobs()]
    assert states.count("failed") == 1 and states.count("cancelled") == 12


def test_a_stage_shows_the_models_own_numbers_until_somebody_sets_others(addon, picture):
    _press_generate(picture())
    assert session.pump_until_done(60)
    settings = bpy.context.scene.trellis
    structure, latent = settings.sparse_structure, settings.structured_latent
    assert (structure.steps, latent.steps) == (2, 3)
    assert (structure.cfg_strength, latent.cfg_strength) == (0.0, 1.5)
    latent.use_custom = True
    assert (latent.steps, latent.cfg_strength) == (3, 1.5)
    assert latent.to_params() == SamplingParams()
    latent.cfg_strength = 0.0
    assert latent.to_params() == SamplingParams(cfg_strength=0.0)
    latent.steps = 9
    assert latent.to_params() == SamplingParams(steps=9, cfg_strength=0.0)
    settings.model = "somebody's"
    assert latent.steps == 9 and latent.of_model() is None


def test_a_setting_without_effect_says_why(addon, picture):
    _press_generate(picture())
    assert session.pump_until_done(60)
    settings = bpy.context.scene.trellis
    assert settings.why_idle("seed") == "Another seed changes next to nothing."
    assert settings.why_idle("steps") == ""


def test_what_a_model_takes_is_not_guessed_from_its_name(addon):
    settings = bpy.context.scene.trellis
    assert settings.takes() == ("pictures",)
    settings.model = "starter-text"
    assert settings.takes() == ("text",) and settings.missing() == "Describe the object in the prompt"
    settings.model = "my-textured-cars"
    assert settings.takes() == ("pictures", "text")
    assert settings.missing() == "Choose a picture or describe the object in the prompt"
    settings.prompt = "a car"
    assert not settings.missing()
    assert settings.to_request((), BackendSettings()).prompt == "a car"


def test_what_the_backend_told_is_known_in_the_next_session(addon, picture):
    assert len(session.known_models()) == 2
    _press_generate(picture())
    assert session.pump_until_done(60)
    told = session.known_models()
    session.end()
    session.begin()
    assert session.known_models() == told and told[0].stage("structured_latent").steps == 3


def test_a_file_that_is_no_picture_is_refused_before_a_backend_starts(addon, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("A chair of oak, with four legs.")
    with pytest.raises(RuntimeError, match="is no picture"):
        _press_generate(path)
    assert not session.is_running() and not session.status().job


def test_jobs_wait_in_an_order_that_can_be_changed(addon, picture):
    for name in ("one", "two", "three", "four"):
        _press_generate(picture(b"ball", f"{name}.png"))
    waiting = [job for job in session.listed_jobs() if job.state == "queued"]
    assert [job.name for job in waiting][-3:] == ["two", "three", "four"]
    bpy.ops.trellis.move_job(job=waiting[-1].id, by=-1)
    bpy.ops.trellis.cancel(job=waiting[-3].id)
    assert session.pump_until_done(PATIENCE)
    ended = session.listed_jobs()
    # The one that was given up while it waited ended first.
    assert [(job.name, job.state) for job in ended if job.state != "cancelled"] == [
        ("one", "finished"),
        ("four", "finished"),
        ("three", "finished"),
    ]
    assert [job.name for job in ended if job.state == "cancelled"] == ["two"]
    assert {"one", "three", "four"} <= set(bpy.data.collections.keys())


def test_a_job_is_run_again(addon, picture):
    path = picture(b"die")
    _press_generate(path)
    assert session.pump_until_done(PATIENCE)
    (failed,) = session.listed_jobs()
    assert failed.state == "failed" and "\n" not in failed.message
    path.unlink()  # the job has what it needs
    bpy.ops.trellis.retry_job(job=failed.id)
    assert session.pump_until_done(PATIENCE)
    (again,) = session.listed_jobs()
    assert again.state == "failed" and again.id != failed.id
    bpy.ops.trellis.forget_job(job=again.id)
    assert not session.listed_jobs()


def test_the_second_run_knows_how_long_it_takes(addon, picture):
    _press_generate(picture())
    assert session.status().left is None
    assert session.pump_until_done(PATIENCE)
    _press_generate(picture())
    assert session.status().left is not None
    assert session.pump_until_done(PATIENCE)


def test_the_seconds_go_on_while_a_job_says_nothing(addon, picture):
    bpy.context.scene.trellis.picture = str(picture(b"slow"))
    bpy.ops.trellis.generate()
    wait_until(lambda: session.status().stage == "sparse_structure", meanwhile=session.timer.tick)
    runner = session.state.current().runner
    shown = []
    for silent in (0.0, 7.0):
        runner._clock = lambda silent=silent: runner._heard + silent
        shown.append(session.status().seconds)
    assert shown[1] == shown[0] + 7
    session.cancel()
    assert session.pump_until_done(PATIENCE) and session.status().seconds == 0


def _fails_once(monkeypatch, name: str) -> None:
    """A function of the add-on has a bug when it is called the first time."""
    module, _, function = name.rpartition(".")
    right, calls = getattr(importlib.import_module(module), function), []

    def wrong(*given):
        calls.append(given)
        if len(calls) == 1:
            raise KeyError("a bug")
        return right(*given)

    monkeypatch.setattr(name, wrong)


@pytest.mark.parametrize("part", ["results.stage_seconds", "timer.listed_jobs", "models.write_models"])
def test_a_bug_in_a_turn_is_told_and_no_job_is_lost(addon, picture, monkeypatch, caplog, part):
    _fails_once(monkeypatch, f"blender_trellis.jobs.session.{part}")
    for name in ("one.png", "two.png"):
        _press_generate(picture(name=name))
    assert session.pump_until_done(PATIENCE)
    assert {one.name for one in bpy.data.collections} == {"one", "two"}
    assert "made a mistake (KeyError)" in session.status().fault
    assert any("a bug" in line for line in session.status().log)
    assert "a bug" in caplog.text
    assert bpy.app.timers.is_registered(session.timer.tick)


def test_a_result_that_a_bug_spoils_can_be_made_again(addon, picture, monkeypatch):
    _fails_once(monkeypatch, "blender_trellis.jobs.session.results.arrival_of")
    for name in ("one.png", "two.png"):
        _press_generate(picture(name=name))
    assert session.pump_until_done(PATIENCE)
    assert {one.name for one in bpy.data.collections} == {"two"}
    failed = next(one for one in session.listed_jobs() if one.state == "failed")
    assert failed.name == "one" and "made a mistake (KeyError)" in failed.message
    bpy.ops.trellis.retry_job(job=failed.id)
    assert session.pump_until_done(PATIENCE)
    assert {one.name for one in bpy.data.collections} == {"one", "two"}
