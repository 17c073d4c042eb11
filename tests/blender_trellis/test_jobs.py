"""Jobs, their order, and what the parts of an object must be."""

from dataclasses import replace

import failing_backend
import numpy as np
import pytest

from blender_trellis.jobs.job import STAGES, JobQueue, apply, new_job
from blender_trellis.jobs.results import check_result
from blender_trellis.protocol import (
    Array,
    Cancelled,
    Failed,
    Finish,
    Finished,
    Generate,
    Heartbeat,
    Loaded,
    LoadModel,
    Progress,
    ProtocolError,
    Result,
    Vary,
)

DONE = Finished("a", 1.0, 1, "starter")


def queue_of(*names: str) -> JobQueue:
    queue = JobQueue()
    for name in names:
        queue = queue.add(new_job(Generate(name)))
    return queue


# ---- jobs


def test_progress_moves_through_the_stages_and_never_back():
    job = new_job(Generate("a", formats=("mesh", "gaussian", "radiance_field")))
    fractions = []
    for stage in STAGES:
        for step in (0, 1, 2):
            job = apply(job, Progress("a", stage, step, 2))
            fractions.append(job.fraction)
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] == 1
    assert apply(job, Progress("a", "load", 0, 1)).fraction == 1


def test_a_stage_that_is_not_asked_for_takes_no_part_of_the_bar():
    job = apply(new_job(Generate("a", formats=("gaussian",))), Progress("a", "decode_gaussian", 1, 1))
    assert job.fraction == 1
    job = apply(new_job(Generate("a")), Progress("a", "decode_gaussian", 1, 1))
    assert 0.8 < job.fraction < 1


@pytest.mark.parametrize(("step", "steps"), [(5, 0), (-1, 4), (9, 4)])
def test_odd_steps_keep_the_fraction_within_its_bounds(step, steps):
    assert 0 <= apply(new_job(Generate("a")), Progress("a", "decode_mesh", step, steps)).fraction <= 1


def test_the_message_tells_the_stage_and_the_step():
    assert apply(new_job(Generate("a")), Progress("a", "sparse_structure", 3, 12)).message == "Shaping 3/12"
    assert apply(new_job(Generate("a")), Progress("a", "decode_mesh", 0, 1)).message == "Making the mesh"


def test_parts_are_kept_and_the_last_of_a_kind_is_found():
    job = new_job(Generate("a"))
    for result in (failing_backend.voxels("a"), failing_backend.gaussians("a"), failing_backend.mesh("a")):
        job = apply(job, result)
    assert [part.kind for part in job.parts] == ["voxels", "gaussian", "mesh"]
    assert job.part("mesh").arrays["faces"].shape == (4, 3)
    assert job.part("radiance_field") is None


@pytest.mark.parametrize(
    ("message", "state"),
    [(DONE, "finished"), (Failed("a", "bad_input", "No."), "failed"), (Cancelled("a"), "cancelled")],
)
def test_the_last_word_is_the_last(message, state):
    job = apply(new_job(Generate("a", formats=())), message)
    assert job.state == state and job.ended
    for late in (DONE, Failed("a", "internal", "x"), Cancelled("a"), Progress("a", "load", 1, 1)):
        assert apply(job, late) == job


def test_a_failure_keeps_its_kind_and_sentence():
    job = apply(new_job(Generate("a")), Failed("a", "out_of_memory", "Close other programs."))
    assert (job.failure, job.message) == ("out_of_memory", "Close other programs.")


def test_messages_of_others_change_nothing():
    job = new_job(Generate("a"))
    for message in (replace(DONE, job="b"), Heartbeat(1.0, 5, "a"), Failed("", "protocol", "x")):
        assert apply(job, message) == job


def test_a_model_is_loaded():
    job = apply(new_job(LoadModel("a")), Progress("a", "load", 1, 2))
    assert job.fraction == 0.5
    assert apply(job, Loaded("a", "starter", "cpu", "float32")).summary.device == "cpu"


def test_a_part_with_a_fault_fails_the_job():
    job = apply(new_job(Generate("a")), failing_backend.mesh("a", last_vertex=4))
    assert (job.state, job.failure) == ("failed", "protocol")
    assert "faces with the index 4, outside of 0 to 3" in job.message


# ---- the queue


def test_one_job_runs_at_a_time_in_order():
    queue = queue_of("a", "b")
    queue, first = queue.start_next()
    assert first.id == "a" and queue.running.id == "a"
    assert queue.start_next() == (queue, None)
    queue, second = queue.apply(DONE).start_next()
    assert second.id == "b"
    assert [job.id for job in queue.ended] == ["a"]
    assert queue.without("a").find("a") is None


def test_names_are_given_once():
    with pytest.raises(ValueError, match="already a job"):
        queue_of("a", "a")


def test_waiting_jobs_outlive_the_backend():
    queue, _ = queue_of("a", "b", "c").start_next()
    queue = queue.backend_died("The backend stopped. It was killed.\nlast line")
    dead = queue.find("a")
    assert (dead.state, dead.failure) == ("failed", "backend_died")
    assert dead.message.endswith("last line")
    assert [job.id for job in queue.waiting] == ["b", "c"]
    assert queue.start_next()[1].id == "b"
    assert queue.backend_died("again") == queue  # none was running


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_by_the_backend():
    queue, _ = queue_of("a", "b").start_next()
    queue, tell = queue.cancel("b")
    assert not tell and queue.find("b").state == "cancelled"
    queue, tell = queue.cancel("a")
    assert tell and queue.running.cancelling
    assert queue.apply(Progress("a", "load", 1, 2)).running.message == "Cancelling"
    assert queue.apply(Cancelled("a")).find("a").state == "cancelled"
    assert queue.backend_died("killed").find("a").state == "cancelled"
    assert queue.cancel("nobody") == (queue, False)


def test_a_finished_job_cannot_be_cancelled():
    queue, _ = queue_of("a").start_next()
    queue = queue.apply(DONE)
    assert queue.cancel("a") == (queue, False)


# ---- parts


def changed(result: Result, name: str, **change) -> Result:
    return replace(result, arrays={**result.arrays, name: replace(result.arrays[name], **change)})


def with_floats(result: Result, name: str, value: float) -> Result:
    shape = result.arrays[name].shape
    return changed(result, name, data=np.full(shape, value, "<f4").tobytes())


def latents(**more: Array) -> Result:
    arrays = {"coords": Array("i4", (1, 3), bytes(12)), "feats": Array("f4", (1, 8), bytes(32))}
    return Result("a", "structured_latent", {"resolution": 4}, arrays | more)


MESH, SPLATS, VOXELS = failing_backend.mesh("a"), failing_backend.gaussians("a"), failing_backend.voxels("a")


def test_sound_parts_become_arrays():
    part = check_result(MESH)
    assert part.arrays["vertices"].dtype == np.float32
    assert part.arrays["faces"][1].tolist() == [0, 1, 3]
    assert check_result(SPLATS).arrays["rotation"].tolist() == [[1, 0, 0, 0]] * 2
    assert check_result(VOXELS).info == {"resolution": 64, "structure_resolution": 8}


def test_a_radiance_field_may_have_any_rank():
    shapes = {"position": (5, 3), "trivec": (5, 16, 3, 8), "density": (5, 16), "features_dc": (5, 16, 1, 3)}
    arrays = {name: Array("f4", shape, np.zeros(shape, "<f4").tobytes()) for name, shape in shapes.items()}
    assert check_result(Result("a", "radiance_field", {}, arrays)).arrays["trivec"].shape == (5, 16, 3, 8)
    arrays["density"] = Array("f4", (4, 16), bytes(4 * 16 * 4))
    with pytest.raises(ProtocolError, match="density of f4"):
        check_result(Result("a", "radiance_field", {}, arrays))


def with_kept(result: Result, count: int) -> Result:
    return replace(result, arrays={**result.arrays, "kept": Array("u1", (count,), bytes(count))})


def test_results_of_edits_say_what_was_kept():
    assert check_result(latents(within=Array("u1", (8,), bytes(8)))).arrays["within"].tolist() == [0] * 8
    part = check_result(with_kept(MESH, 4))
    assert part.arrays["kept"].tolist() == [0, 0, 0, 0] and part.arrays["keys"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (replace(MESH, arrays={}), "holds nothing instead of colors, faces, keys, vertices"),
        (
            replace(MESH, arrays={**MESH.arrays, "uv": MESH.arrays["colors"]}),
            "colors, faces, keys, uv, vertices",
        ),
        (changed(MESH, "vertices", shape=(12,)), "vertices of f4 (12) instead of f4 (V, 3)"),
        (changed(MESH, "vertices", dtype="i4"), "vertices of i4"),
        (changed(MESH, "colors", shape=(2, 3), data=bytes(24)), "colors of f4 (2, 3)"),
        (changed(MESH, "faces", shape=(0, 3), data=b""), "faces of i4 (0, 3)"),
        (changed(MESH, "faces", shape=(1, 3), data=np.array([0, -1, 2], "<i4").tobytes()), "index -1"),
        (with_floats(MESH, "vertices", float("nan")), "vertices with values that are not finite"),
        (with_floats(MESH, "vertices", float("inf")), "not finite"),
        (with_floats(MESH, "colors", 1.5), "colors outside of 0 to 1"),
        (with_floats(SPLATS, "rotation", 1.0), "no unit quaternions"),
        (with_floats(SPLATS, "scale", float("-inf")), "scale with values that are not finite"),
        (replace(VOXELS, info={}), "the resolution None"),
        (replace(VOXELS, info={"resolution": "64"}), "the resolution 64"),
        (replace(VOXELS, info=VOXELS.info | {"resolution": 4096}), "the resolution 4096"),
        (
            replace(VOXELS, info=VOXELS.info | {"structure_resolution": 9}),
            "64 bytes of a structure of resolution 9",
        ),
        (with_kept(MESH, 3), "has kept of u1 (3) instead of u1 (V)"),
        (latents(within=Array("u1", (7,), bytes(7))), "7 bytes of a solid of resolution 4"),
        (replace(VOXELS, info={"resolution": 32}), "index 32, outside of 0 to 31"),
    ],
)
def test_faults_of_parts_are_named(result, words):
    with pytest.raises(ProtocolError) as caught:
        check_result(result)
    assert words in str(caught.value)
    assert caught.value.job == "a"


@pytest.mark.parametrize(
    "request_, lacking",
    [
        (Generate("a"), "mesh"),
        (Generate("a", formats=("gaussian",)), "gaussian"),
        (Generate("a", structure_only=True), "structure latent"),
        (Finish("a"), "finished mesh"),
        (Vary("a", onto="mesh"), "vertex colors"),
    ],
)
def test_a_job_that_ends_without_its_results_has_failed(request_, lacking):
    job = apply(new_job(request_), DONE)
    assert job.failure == "protocol" and f"sent no {lacking}." in job.message
