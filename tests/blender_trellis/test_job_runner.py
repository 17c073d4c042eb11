"""One job after the other on a backend that dies, hangs or does not listen; every wait ends."""

import os
import sys
from pathlib import Path

import pytest

from blender_trellis.jobs import runner as job_runner
from blender_trellis.jobs.job import Job
from blender_trellis.jobs.launch import CommandLaunch, Launch, words_of
from blender_trellis.jobs.runner import JobRunner
from blender_trellis.process.growth import Growth
from blender_trellis.protocol import Array, Cancel, CutOut, Generate
from tests.homeless import forget_home
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


def test_a_backend_that_met_a_fault_of_its_own_makes_no_more_jobs(runner, monkeypatch):
    monkeypatch.setattr(job_runner.BackendProcess, "log_tail", lambda self, lines=12: "what its log says")
    names = [runner.submit(_request(data)) for data in (b"bug", b"ball")]
    broke = runner.pump_until_done(names[0], timeout=PATIENCE)
    assert (broke.failure, broke.message.splitlines()[1:]) == ("internal", ["what its log says"])
    assert runner.pump_until_done(names[1], timeout=PATIENCE).state == "finished"


def test_after_a_stop_nothing_starts_before_the_next_request(runner):
    names = [runner.submit(_request(data)) for data in (b"slow", b"ball")]
    _until_running(runner, names[0])
    runner.stop()
    for _ in range(3):
        runner.tick()
    assert not runner.is_alive and runner.held == "Stopped: goes on with the next job"
    assert [job.id for job in runner.queue.waiting] == names[1:]
    last = runner.submit(_request())
    assert not runner.held
    assert runner.pump_until_done(names[1], timeout=PATIENCE).state == "finished"
    assert runner.pump_until_done(last, timeout=PATIENCE).state == "finished"


def test_a_backend_that_does_not_hear_a_cancel_is_ended(runner, monkeypatch):
    monkeypatch.setattr(job_runner, "CANCEL_SECONDS", 0.3)
    name = runner.submit(_request(b"deaf"))
    _until_running(runner, name)
    runner._process.send = lambda message: None  # the cancel is lost
    runner.cancel(name)
    assert runner.pump_until_done(name, timeout=PATIENCE).state == "cancelled"
    assert not runner.is_alive


def test_a_job_is_given_up_at_once_while_the_backend_starts(runner, monkeypatch):
    """Which goes on, however long that takes, and makes the next one."""
    monkeypatch.setattr(job_runner, "CANCEL_SECONDS", 0.0)
    names = [runner.submit(_request()) for _ in range(2)]
    runner.tick()
    process = runner._process
    runner.cancel(names[0])
    assert [(job.id, job.state) for job in runner.tick()] == [(names[0], "cancelled")]
    assert runner.pump_until_done(names[1], timeout=PATIENCE).state == "finished"
    assert runner._process is process


def test_the_job_after_a_cancelled_one_is_not_ended_for_it(runner, monkeypatch):
    names = [runner.submit(_request(data)) for data in (b"slow", b"ball")]
    _until_running(runner, names[0])
    runner.cancel(names[0])
    assert runner.pump_until_done(names[0], timeout=PATIENCE).state == "cancelled"
    process = runner._process
    monkeypatch.setattr(job_runner, "CANCEL_SECONDS", 0.0)  # as when the next one takes longer than that
    assert runner.pump_until_done(names[1], timeout=PATIENCE).state == "finished"
    assert runner._process is process


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


@pytest.mark.parametrize("python", [Path("/nowhere/python"), Path(sys.executable)])
def test_jobs_wait_where_no_backend_starts_until_it_is_tried_again(runner, launch, tmp_path, python):
    """Of a Python that is not there, and of a backend that ends before its Hello: no job fails for it."""
    runner.use(Launch(python, ROOT, tmp_path / "log", module=("-c", "raise SystemExit('no torch')")))
    names = [runner.submit(_request()) for _ in range(3)]
    wait_until(lambda: runner.tick() or runner.unstarted)
    assert not runner.tick() and not runner.is_alive
    assert [job.id for job in runner.queue.waiting] == names and "did not start" in runner.held
    runner.use(launch)
    runner.resume()
    done: list[Job] = []
    wait_until(lambda: done.extend(runner.tick()) or len(done) == 3)
    assert [(job.id, job.state) for job in done] == [(name, "finished") for name in names]


def test_a_bug_while_a_job_is_started_leaves_it_neither_running_nor_lost(runner, launch, monkeypatch):
    class Odd:
        def start(self):
            raise KeyError("odd")

    runner.use(Odd())
    name = runner.submit(_request())
    assert not runner.tick() and "odd" in runner.unstarted
    assert runner.queue.find(name).state == "queued"
    runner.queue, _ = runner.queue.start_next()
    runner.cancel(name)  # of a job that runs without a backend
    assert [job.state for job in runner.tick()] == ["cancelled"]
    runner.use(launch)
    monkeypatch.setattr(job_runner.BackendProcess, "send", lambda self, message: {}["odd"])
    runner.submit(_request())
    assert [(job.state, job.failure) for job in runner.tick()] == [("failed", "internal")]


def test_a_cut_out_that_nobody_wants_any_more_is_cancelled(runner, monkeypatch):
    sent = []
    monkeypatch.setattr(job_runner.BackendProcess, "send", lambda self, message: sent.append(message))
    for key in "ab":
        runner.ask_cut_out(CutOut("", ()), key)
    first, cancel, second = sent
    assert cancel == Cancel(first.job) and runner.cut_out.job == second.job


def test_another_interpreter_takes_over_when_idle(runner, launch, tmp_path):
    runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    before = runner._process
    runner.use(Launch(launch.python, launch.root, tmp_path / "other", module=launch.module))
    assert runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE).state == "finished"
    assert runner._process is not before


def test_another_interpreter_takes_over_after_the_running_job(runner, launch, tmp_path):
    names = [runner.submit(_request(data)) for data in (b"slow", b"ball")]
    _until_running(runner, names[0])
    before = runner._process
    runner.use(Launch(launch.python, launch.root, tmp_path / "other", module=launch.module))
    assert runner._process is before  # it still works
    runner.cancel(names[0])
    assert runner.pump_until_done(names[1], timeout=PATIENCE).state == "finished"
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


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_backend_without_a_job_ends_after_a_while_and_starts_with_the_next_one(launch):
    clock = Clock()
    runner = JobRunner(launch, clock)
    runner.idle_seconds = 600
    assert runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE).state == "finished"
    clock.now = 599
    assert not runner.tick() and runner.is_alive
    clock.now = 601
    runner.tick()
    assert not runner.is_alive and "idle" in runner.told
    assert runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE).state == "finished"
    clock.now += 601  # a job that runs longer than the time is no idle time
    name = runner.submit(_request(b"deaf"))
    _until_running(runner, name)
    clock.now += 6000
    runner.tick()
    assert runner.is_alive and not runner.told
    runner.close()


def test_a_backend_stays_for_ever_unless_told_otherwise(launch):
    clock = Clock()
    runner = JobRunner(launch, clock)
    runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    clock.now = 1e9
    runner.tick()
    assert runner.is_alive
    runner.close()


def test_a_backend_that_has_grown_is_started_anew_between_two_jobs(launch, runner):
    """The stand-in says after each job how much it takes: 1 GB, and 4 GB after the picture "grow"."""
    first = runner.submit(_request(b"ball"))
    runner.pump_until_done(first, timeout=PATIENCE)
    before = runner._process
    same, grown, last = (runner.submit(_request(data)) for data in (b"ball", b"grow", b"ball"))
    assert runner.pump_until_done(same, timeout=PATIENCE).state == "finished"
    assert runner._process is before
    done = runner.pump_until_done(grown, timeout=PATIENCE)
    assert done.state == "finished" and done.part("mesh") is not None
    assert runner.pump_until_done(last, timeout=PATIENCE).state == "finished"
    assert runner._process is not before and runner.is_alive
    wait_until(lambda: not before.alive)


def test_work_of_a_new_kind_may_take_more(runner):
    """Another model in memory is no leak; the same model's next job is measured by it."""
    gb = 1 << 30
    growth = Growth().after("small", gb)
    assert not growth.is_beyond(2 * gb) and growth.is_beyond(2 * gb + 1)
    growth = growth.after("small", 9 * gb).after("large", 6 * gb)
    assert not growth.is_beyond(9 * gb) and growth.is_beyond(9 * gb + 1)
    assert not Growth().after("small", 0).is_beyond(100 * gb)  # a system that does not tell


# --- elsewhere


def _elsewhere(tmp_path: Path, lines: str) -> str:
    """A command like ssh: another folder, none of our variables, and a pipe that moves small pieces."""
    script = tmp_path / "far away" / "ssh"
    script.parent.mkdir(exist_ok=True)
    script.write_text("#!/bin/sh\n" + lines)
    script.chmod(0o755)
    return f"'{script}' gpubox trellis-backend"


def _slowly(command: str) -> str:
    return f"cd / && dd bs=999 2>/dev/null | env -i PATH=/usr/bin:/bin {command} | dd bs=777 2>/dev/null\n"


FAR = f'"{sys.executable}" -E -s "{ROOT}/tests/blender/fake_backend.py"'


def test_a_backend_behind_a_command_serves_jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("TRELLIS_MODELS", "/here/only")
    banner = "echo 'Welcome to gpubox'; seq 40; echo '{\"type\": \"motd\"}'\n"
    title = r"printf '\033]0;gpubox\007'" + "\n"  # which a shell's start-up file says without a line's end
    lines = banner + title + 'test "$*" = "gpubox trellis-backend" || exit 9\n' + _slowly(FAR)
    runner = JobRunner(CommandLaunch(_elsewhere(tmp_path, lines), tmp_path / "log"))
    done = runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    assert done.state == "finished" and done.part("mesh") is not None, done.message
    assert "Welcome" in (tmp_path / "log").read_text() or "Unreadable" in (tmp_path / "log").read_text()
    runner.close()


def test_a_backend_behind_a_command_needs_no_home_here(tmp_path, monkeypatch):
    forget_home(monkeypatch)
    runner = JobRunner(CommandLaunch(FAR, tmp_path / "log"))
    done = runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    assert done.state == "finished", done.message
    runner.close()


def test_a_connection_that_dies_fails_its_job_and_the_next_one_connects_again(tmp_path):
    marker = tmp_path / "died"
    told = "Permission denied (publickey)."
    dies = f"if [ ! -e {marker} ]; then touch {marker}; echo '{told}' >&2; exit 255; fi\n"
    runner = JobRunner(CommandLaunch(_elsewhere(tmp_path, dies + _slowly(FAR)), tmp_path / "log"))
    first, second = runner.submit(_request()), runner.submit(_request())
    lost = runner.pump_until_done(first, timeout=PATIENCE)
    assert (lost.state, lost.failure) == ("failed", "backend_died")
    assert lost.message.splitlines()[0] == (
        "The backend stopped. The connection to it failed or broke off (exit code 255): "
        f'check the network, and that it asks for no password. It said "{told}".'
    )
    assert runner.pump_until_done(second, timeout=PATIENCE).state == "finished"
    runner.close()


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("echo 'Welcome to gpubox'\n", 'exit code 0. It said "Welcome to gpubox". Check the backend command'),
        ("exec yes 'no backend here'\n", 'It said "no backend here". Check the backend command'),
        ("exec cat\n", "It sent Generate, which only the add-on may send. Check the backend command"),
        ("exec no-such-program\n", "not found or may not be run (exit code 127). Check the backend command"),
    ],
)
def test_a_command_that_starts_no_backend_is_told_in_one_sentence(tmp_path, lines, sentence):
    runner = JobRunner(CommandLaunch(_elsewhere(tmp_path, lines), tmp_path / "log"))
    done = runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    assert done.state == "failed" and sentence in done.message.splitlines()[0]
    runner.close()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("ssh 'gpubox trellis-backend", "correct its quotation marks"),
        ("/nowhere/ssh gpubox", "The backend command /nowhere/ssh cannot be started"),
        ("   ", "The backend command is empty"),
    ],
)
def test_a_command_that_cannot_be_started_is_told(tmp_path, command, sentence):
    runner = JobRunner(CommandLaunch(command, tmp_path / "log"))
    done = runner.pump_until_done(runner.submit(_request()), timeout=PATIENCE)
    assert done.state == "failed" and sentence in done.message


def test_the_words_of_a_command_are_a_shells():
    assert words_of("ssh -o 'A B' gpubox  trellis-backend") == [
        "ssh",
        "-o",
        "A B",
        "gpubox",
        "trellis-backend",
    ]
    assert words_of("echo $HOME; rm") == ["echo", "$HOME;", "rm"]  # nothing is run or replaced
