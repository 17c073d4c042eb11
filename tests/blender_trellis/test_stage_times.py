"""What earlier jobs took shapes the bar and says how long the next one will take."""

import pytest

from blender_trellis.jobs.job import apply, new_job, seconds_left, stage_seconds
from blender_trellis.jobs.kept.stage_times import read_times, times_key, with_run, write_times
from blender_trellis.jobs.results import Part
from blender_trellis.protocol import Finished, Generate, Progress

REQUEST = Generate("a", formats=("mesh",))
TOLD = [("load", 0, 0.0), ("condition", 0, 1.0), ("sparse_structure", 0, 3.0), ("decode_mesh", 0, 4.0)]


def run_of(job, told=TOLD, seconds=10.0):
    for stage, step, second in told:
        job = apply(job, Progress("a", stage, step, 4, second))
    job = apply(job, Part("mesh", {}, {}, "a"))
    return apply(job, Finished("a", seconds, 1, "starter"))


def test_a_stage_lasts_until_the_next_one_begins():
    expected = {"load": 1.0, "condition": 2.0, "sparse_structure": 1.0, "decode_mesh": 6.0}
    assert stage_seconds(run_of(new_job(REQUEST))) == expected


def test_the_bar_moves_with_the_time_that_stages_take():
    times = {
        "load": 0.0,
        "condition": 1.0,
        "sparse_structure": 1.0,
        "decode_sparse_structure": 0.0,
        "structured_latent": 2.0,
        "decode_mesh": 6.0,
        "extract_mesh": 0.0,
    }
    job = apply(new_job(REQUEST, times), Progress("a", "decode_mesh", 0, 4, 4.0))
    assert job.fraction == pytest.approx(0.4) and seconds_left(job) == pytest.approx(6.0)
    job = apply(job, Progress("a", "decode_mesh", 2, 4, 7.0))
    assert job.fraction == pytest.approx(0.7) and seconds_left(job) == pytest.approx(3.0)
    job = apply(new_job(REQUEST, {"load": 1.0}), Progress("a", "decode_mesh", 0, 4, 4.0))
    assert seconds_left(job) is None


def test_times_are_means_that_outlive_the_session(tmp_path):
    assert read_times(tmp_path) == {}
    times = with_run(with_run({}, REQUEST, {"load": 4.0}), REQUEST, {"load": 2.0, "condition": 1.0})
    assert times == {times_key(REQUEST): {"load": 3.0, "condition": 1.0}}
    write_times(tmp_path, times)
    assert read_times(tmp_path) == times
    assert times_key(Generate("b", device="cuda:0")) != times_key(REQUEST)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"load": -1}}', '{"a": {"load": true}}', "{"])
def test_a_damaged_file_is_no_file(tmp_path, text):
    (tmp_path / "stage_times.json").write_text(text)
    assert read_times(tmp_path) == {}
