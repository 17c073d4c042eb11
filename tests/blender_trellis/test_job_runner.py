"""One job after the other on a backend that dies, hangs or does not listen; every wait ends."""

import os
import sys
from pathlib import Path

import pytest

from blender_trellis.jobs import runner as job_runner
from blender_trellis.jobs.runner import JobRunner, Launch
from blender_trellis.protocol import Array, Generate
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]


def _request(data: bytes = b"ball") -> Generate:
    return Generate("", pictures=(Array("u1", (len(data),), data),), picture_names=("crate.png",))


@pytest.fixture
def launch(tmp_path) -> Launch:
    return Launch(Path(sys.executable), ROOT, tmp_path / "log", module=("tests/blender/fake_backend.py",))


@pytest.fixture
def runner(launch):
    runner = JobRunner(launch)
    yield runner
    runner.close()


def _until_running(runner: JobRunner, name: str) -> None:
    def runs() -> bool:
        assert not runner.tick()
        return not runner.is_starting and runner.queue.find(name).state == "running"

    wait_until(runs)


def test_one_backend_serves_all_jobs(runner):
    first, second = runner.submit(_request()), runner.submit(_request())
    fractions = []
    done = runner.pump_until_done(first, lambda job: fractions.append(job.fraction), timeout=PATIENCE)
    process = runner._process
    assert done.state == "finished" and {part.kind for part in done.parts} >= {
        "voxels",
        "structured_latent",
        "gaussian",
        "mesh",
    }
    assert fractions == sorted(fractions)
    assert runner.pump_until_done(second, timeout=PATIENCE).state == "finished"
    assert runner._process is process and not runner.queue.jobs


def test_the_queue_outlives_the_backend(runner):
    names = [runner.submit(_request(data)) for data in (b"die", b"ball")]
    died = runner.pump_until_done(names[0], timeout=PATIENCE)
    assert (died.state, died.failure) == ("failed", "backend_died")
    assert "torch ate all the memory" in died.message
    assert runner.pump_until_done(names[1], timeout=PATIENCE).state == "finished"


def test_a_job_for_a_backend_that_died_in_idleness_is_given_to_the_next(runner):
    assert runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE).state == "finished"
    process = runner._process
    process.kill()
    assert runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE).state == "finished"
    assert runner._process is not process


def test_a_job_that_kills_each_backend_before_a_word_fails(runner, monkeypatch):
    assert runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE).state == "finished"
    send = job_runner.BackendProcess.send
    monkeypatch.setattr(
        job_runner.BackendProcess, "send", lambda self, message: (send(self, message), self.kill())
    )
    job = runner.pump_until_done(runner.submit(_request(b"deaf")), timeout=PATIENCE)
    assert (job.state, job.failure) == ("failed", "backend_died")


def test_a_backend_that_does_not_hear_a_cancel_is_ended(runner, monkeypatch):
    monkeypatch.setattr(job_runner, "CANCEL_SECONDS", 0.3)
    name = runner.submit(_request(b"deaf"))
    _until_running(runner, name)
    runner._process.send = lambda message: None  # the cancel is lost
    runner.cancel(name)
    assert runner.pump_until_done(name, timeout=PATIENCE).state == "cancelled"
    assert not runner.is_alive


def test_a_silent_backend_is_ended(runner, monkeypatch):
    monkeypatch.setattr(job_runner, "SILENT_SECONDS", 0.5)
    name = runner.submit(_request(b"deaf"))
    done = runner.pump_until_done(name, timeout=PATIENCE)
    assert done.state == "failed" and "no sign of life" in done.message


def test_a_timeout_cancels(runner):
    name = runner.submit(_request(b"slow"))
    _until_running(runner, name)
    assert runner.pump_until_done(name, timeout=0.2).state == "cancelled"


def test_a_python_that_is_not_there_fails_the_job(launch, tmp_path):
    runner = JobRunner(Launch(tmp_path / "python", ROOT, tmp_path / "log"))
    done = runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    assert done.state == "failed" and str(tmp_path / "python") in done.message


def test_another_interpreter_takes_over_when_idle(runner, launch, tmp_path):
    runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    before = runner._process
    runner.use(Launch(launch.python, launch.root, tmp_path / "other", module=launch.module))
    assert runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE).state == "finished"
    assert runner._process is not before


def test_the_models_folder_reaches_the_backend_and_not_blender(launch, tmp_path, monkeypatch):
    monkeypatch.delenv("TRELLIS_MODELS", raising=False)
    names = ("TRELLIS_MODELS", "TRELLIS_U2NET")
    code = f"import os, sys; sys.stderr.write(' '.join(os.environ[n] for n in {names})); sys.stderr.flush()"
    paths = (tmp_path / "models", tmp_path / "u2net.onnx")
    process = Launch(launch.python, ROOT, tmp_path / "log", *paths, ("-c", code)).start()
    wait_until(process.log_tail)
    process.stop()
    assert process.log_tail() == " ".join(map(str, paths))
    assert "TRELLIS_MODELS" not in os.environ
