"""The queue outlives a Blender that ends in the middle of it; nothing that was finished is lost."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import bpy
import pytest

from blender_trellis.extension_paths import user_folder
from blender_trellis.faults import Fault
from blender_trellis.jobs import session
from blender_trellis.jobs.kept.keeper import QueueKeeper
from blender_trellis.jobs.placement import Placement
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]


def _submit(path) -> None:
    bpy.context.scene.trellis.picture = str(path)
    assert bpy.ops.trellis.generate() == {"FINISHED"}


def _folders() -> list[Path]:
    root = user_folder() / "queue"
    return sorted(root.iterdir()) if root.is_dir() else []


def _again(addon) -> None:
    """Blender closes, and another one begins."""
    addon.unregister()
    addon.register()


def _box(name: str) -> bpy.types.Object:
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.object.name = name
    return bpy.context.object


def _written() -> None:
    session.timer.tick()
    session.state.current().keeper._writer.submit(lambda: None).result()


def test_what_waited_is_offered_again_and_made(addon, picture):
    for name, data in (("one.png", b"slow"), ("two.png", b"ball"), ("three.png", b"ball")):
        _submit(picture(data, name))
    session.move(session.listed_jobs()[-1].id, -1)
    bpy.context.scene.trellis.seed = 5
    _written()
    _again(addon)
    assert session.state.current().keeper.left() == 3
    (tmp := picture(b"ball", "three.png")).unlink()  # the pictures are kept, not where they were
    assert not session.listed_jobs()  # nothing runs by itself
    session.continue_left()
    assert [one.name for one in session.listed_jobs()] == ["one", "three", "two"] and not tmp.exists()
    wait_until(lambda: session.status().stage == "sparse_structure", meanwhile=session.timer.tick)
    session.cancel(session.listed_jobs()[0].id)
    assert session.pump_until_done(PATIENCE)
    assert {one.name for one in bpy.data.collections} == {"three", "two"}
    _written()
    assert len(list(_folders()[0].glob("*.result"))) == 2
    bpy.ops.wm.save_as_mainfile(filepath=str(user_folder() / "saved.blend"))
    _written()
    assert _folders() == []


def test_what_was_placed_but_not_saved_when_blender_died_comes_back(addon, picture):
    _submit(picture())
    assert session.pump_until_done(PATIENCE)
    _written()
    state = session.state.current()
    state.keeper.close()  # and nothing else happens, as where the process is killed
    state.keeper = type(state.keeper)(user_folder() / "queue")
    session.stop_backend()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert not bpy.data.objects
    session.continue_left()
    assert session.pump_until_done(PATIENCE) and not session.is_running()
    assert {"crate", "crate Raw", "crate Gaussians"} <= {item.name for item in bpy.data.objects}


def test_all_that_is_in_no_saved_file_is_kept(addon, picture):
    _submit(picture(b"slow"))
    state = session.state.current()
    placed = [
        (replace(state.runner.queue.jobs[0], id=f"job{n}"), Placement(f"object {n}")) for n in range(20)
    ]
    for one in placed:
        state.unsaved = (*state.unsaved, one)
        session.timer.tick()
    _written()
    assert len(list(_folders()[0].glob("job*.request"))) == 20


def test_a_finished_result_that_was_not_placed_is_not_lost(addon, picture, monkeypatch):
    with monkeypatch.context() as busy:
        busy.setattr("blender_trellis.jobs.arrivals._has_to_wait", lambda placement: "somebody sculpts")
        _submit(picture())
        wait_until(lambda: session.state.current().arrived, meanwhile=session.timer.tick)
        _written()
    _again(addon)
    session.state.current().keeper.left()
    (left,) = session.state.current().keeper.adopt().jobs
    assert left.job.state == "finished"
    session.continue_left()
    assert session.pump_until_done(PATIENCE) and not session.is_running()  # nothing is computed again
    assert bpy.data.collections["crate"]["trellis_seed"] == 1
    assert {"crate", "crate Raw", "crate Gaussians"} <= {item.name for item in bpy.data.objects}


def test_candidates_that_were_shown_come_back_to_be_picked(addon, picture):
    settings = bpy.context.scene.trellis
    settings.picture, settings.candidates = str(picture()), 3
    bpy.ops.trellis.make_candidates()
    assert session.pump_until_done(PATIENCE)
    shown = session.candidates()
    _written()
    _again(addon)
    assert not session.candidates() and session.state.current().keeper.left() == 3
    bpy.ops.trellis.make_candidates()  # other ones were made in the meantime
    assert session.pump_until_done(PATIENCE)
    session.stop_backend()
    session.continue_left()
    back = session.candidates()[3:]
    assert [one.number for one in session.candidates()] == [1, 2, 3, 4, 5, 6]
    assert [one.request.seed for one in back] == [one.request.seed for one in shown]
    for one, before in zip(back, shown, strict=True):
        assert (one.coords == before.coords).all() and (one.latent == before.latent).all()
    assert not session.is_running()  # nothing is computed again
    bpy.ops.trellis.pick_candidate(candidate=back[1].id)
    bpy.ops.trellis.finish_picked()
    assert session.pump_until_done(PATIENCE)
    assert bpy.data.collections["crate"]["trellis_seed"] == shown[1].request.seed
    bpy.ops.trellis.discard_candidates()
    bpy.ops.wm.save_as_mainfile(filepath=str(user_folder() / "saved.blend"))
    _written()
    assert _folders() == []


def test_colours_that_come_after_a_restart_go_to_the_object_of_the_name(addon, tmp_path):
    """Which has another session_uid in the new Blender, where the former one may be somebody else's."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "boxes.blend"))
    first, settings = _box("Box"), bpy.context.scene.trellis.vary
    settings.guide, settings.image = "PICTURE", bpy.data.images.new("red.png", 4, 4)
    bpy.ops.trellis.retexture()
    _written()
    _again(addon)
    second = _box("Other")
    first.name, second.name = "Third", "Box"
    session.continue_left()
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    assert "Retexture" in second.data.color_attributes and "Retexture" not in first.data.color_attributes


def test_discarded_jobs_are_gone(addon, picture):
    _submit(picture(b"slow"))
    _written()
    _again(addon)
    assert session.state.current().keeper.left() == 1
    session.discard_left()
    _again(addon)
    assert session.state.current().keeper.left() == 0 and _folders() == []


def test_a_killed_blender_leaves_its_queue_and_a_living_one_keeps_it(addon, picture, tmp_path):
    code = f"""
        import sys, os
        sys.path.insert(0, {str(ROOT)!r})
        import bpy, blender_trellis
        from blender_trellis.jobs import session
        blender_trellis.register()
        bpy.context.scene.trellis.picture = {str(picture(b"slow"))!r}
        bpy.ops.trellis.generate()
        session.timer.tick()
        session.state.current().keeper._writer.submit(lambda: None).result()
        print("kept", flush=True)
        sys.stdin.read()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert any(line == "kept\n" for line in other.stdout)
    assert len(_folders()) == 1 and session.state.current().keeper.left() == 0
    other.kill()
    other.wait()
    _again(addon)
    assert session.state.current().keeper.left() == 1
    session.discard_left()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"jobs": [{"id": "x"}]}', b"\xff\xfe"])
def test_a_damaged_queue_harms_nobody(addon, damage):
    folder = user_folder(create=True) / "queue" / "left"
    folder.mkdir(parents=True)
    (folder / "queue.json").write_bytes(damage)
    assert session.state.current().keeper.left() == 0
    session.continue_left()
    assert not session.listed_jobs() and not session.status().fault
    assert (folder / "queue.json").read_bytes() == damage  # which another version may know how to read


def test_a_request_that_is_cut_short_is_left_out(addon, picture):
    for name in ("one.png", "two.png"):
        _submit(picture(b"slow", name))
    _written()
    _again(addon)
    requests = sorted(_folders()[0].glob("*.request"), key=lambda path: path.stat().st_size)
    requests[0].write_bytes(requests[0].read_bytes()[:-3])
    session.continue_left()
    assert len(session.listed_jobs()) == 1


def test_what_cannot_be_read_is_said_and_kept_and_the_others_go_on(addon, picture):
    for name in ("one.png", "two.png", "three.png"):
        _submit(picture(b"ball", name))
    _written()
    _again(addon)
    (folder,) = _folders()
    kept = json.loads((folder / "queue.json").read_text())
    first, second, _ = (row["id"] for row in kept["jobs"])
    kept["jobs"][0]["placement"]["candidate"] = "many"
    (folder / "queue.json").write_text(json.dumps(kept))
    request = folder / f"{second}.request"
    request.write_bytes(request.read_bytes()[:-3])
    bpy.ops.trellis.continue_left()
    assert session.status().fault == "2 of the kept jobs cannot be read and stay; the others go on."
    assert [one.name for one in session.listed_jobs()] == ["three"]
    assert session.pump_until_done(PATIENCE) and "three" in bpy.data.collections
    _written()
    assert json.loads((folder / "queue.json").read_text())["jobs"] == [kept["jobs"][1], kept["jobs"][0]]
    assert {path.name for path in folder.glob("*.re*")} == {f"{first}.request", f"{second}.request"}
    _again(addon)
    assert session.state.current().keeper.left() >= 1  # those that can be told


def _leave_one_finished_and_one_waiting(addon, picture, monkeypatch) -> None:
    with monkeypatch.context() as busy:
        busy.setattr("blender_trellis.jobs.arrivals._has_to_wait", lambda placement: "somebody sculpts")
        _submit(picture(b"ball", "one.png"))
        wait_until(lambda: session.state.current().arrived, meanwhile=session.timer.tick)
        _submit(picture(b"slow", "two.png"))
        _written()
    _again(addon)


@pytest.mark.parametrize("placement", [{"recolors": [["Box", 8]]}, {"candidate": 3}], ids=str)
def test_a_kept_result_that_does_not_fit_its_place_fails_alone(addon, picture, monkeypatch, placement):
    _leave_one_finished_and_one_waiting(addon, picture, monkeypatch)
    (folder,) = _folders()
    kept = json.loads((folder / "queue.json").read_text())
    kept["jobs"][0]["placement"] |= placement
    (folder / "queue.json").write_text(json.dumps(kept))
    results = session.results
    monkeypatch.setattr(results, "candidate_of", lambda job, placement: {}["structure_latent"])
    assert bpy.ops.trellis.continue_left() == {"FINISHED"}
    wait_until(lambda: "made a mistake" in session.status().fault, meanwhile=session.timer.tick)
    states = {one.name: one.state for one in session.listed_jobs()}
    assert states.pop("two") in ("queued", "running") and list(states.values()) == ["failed"]
    _written()
    assert not folder.exists() and session.state.current().ended[0].request.pictures  # can be run again


def test_another_blender_is_left_what_it_goes_on_with(addon, picture):
    _submit(picture(b"slow"))
    _written()
    _again(addon)
    other = QueueKeeper(user_folder() / "queue")
    keeper = session.state.current().keeper
    assert other.left() == keeper.left() == 1
    assert len(other.adopt().jobs) == 1
    session.continue_left()
    assert session.status().fault == "Another Blender goes on with these jobs."
    assert not session.listed_jobs()
    session.state.current().keeper._left = other._left  # as where this one had been pressed first
    session.discard_left()
    _written()
    assert len(list(_folders()[0].glob("*.request"))) == 1
    other.settle()
    other.close()
    assert _folders() == []


def test_a_blender_that_only_begins_its_queue_is_left_alone(addon):
    folder = user_folder(create=True) / "queue" / "begun"
    folder.mkdir(parents=True)
    assert QueueKeeper(folder.parent).left() == 0 and folder.is_dir()
    os.utime(folder, (1e9, 1e9))
    assert QueueKeeper(folder.parent).left() == 0 and not folder.exists()


def test_a_full_disk_leaves_what_was_kept_until_it_is_written_anew(addon, picture, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    _submit(picture(b"slow"))
    _written()
    _again(addon)
    (before,) = _folders()
    with monkeypatch.context() as disk:
        disk.setattr("blender_trellis.jobs.kept.keeper.write_request", full)
        session.continue_left()
        _written()
        assert len(list(before.glob("*.request"))) == 1
        assert "No space left" in session.status().fault
    monkeypatch.setattr("blender_trellis.jobs.kept.keeper.AGAIN_SECONDS", 0.0)
    _written()
    assert not before.exists() and len(list(_folders()[0].glob("*.request"))) == 1


def test_nothing_is_gone_on_with_twice_where_no_backend_can_be_started(addon, picture, monkeypatch):
    _leave_one_finished_and_one_waiting(addon, picture, monkeypatch)
    with monkeypatch.context() as broken:

        def refuse(state):
            raise Fault("The folder cannot be made.")

        broken.setattr(session.doing, "choose_launch", refuse)
        with pytest.raises(RuntimeError, match="The folder cannot be made"):
            bpy.ops.trellis.continue_left()
        assert not session.state.current().coming and session.state.current().keeper.left() == 2
    session.continue_left()
    assert len(session.state.current().coming) == 1 and len(session.listed_jobs()) == 1


def test_a_full_disk_is_said_and_the_job_goes_on(addon, picture, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("blender_trellis.jobs.kept.keeper.write_request", full)
    monkeypatch.setattr("blender_trellis.jobs.kept.keeper.write_order", full)
    _submit(picture(b"steady"))
    wait_until(lambda: "No space left" in session.status().fault, meanwhile=session.timer.tick)
    assert session.pump_until_done(PATIENCE)
    assert "crate" in bpy.data.collections


def test_what_a_full_disk_did_not_take_is_written_once_there_is_room(addon, picture, monkeypatch):
    """Also where other files could be written in the meantime."""

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("blender_trellis.jobs.kept.keeper.write_result", full)
        _submit(picture())
        assert session.pump_until_done(PATIENCE)
        _written()
        session.timer.tick()
        assert "No space left" in session.status().fault and not list(_folders()[0].glob("*.result"))
    monkeypatch.setattr("blender_trellis.jobs.kept.keeper.AGAIN_SECONDS", 0.0)
    _written()
    assert session.state.current().keeper.fault == ""
    assert list(_folders()[0].glob("*.result"))
