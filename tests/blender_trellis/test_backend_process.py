"""The child process, against a stand-in that behaves in all the ways that a backend can go wrong."""

import io
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from blender_trellis.faults import Fault
from blender_trellis.process import backend_process, process_tree
from blender_trellis.process.backend_process import BackendProcess
from blender_trellis.process.message_queue import MessageQueue
from blender_trellis.protocol import (
    PROTOCOL_VERSION,
    Array,
    Cancel,
    Cancelled,
    Failed,
    Finished,
    Generate,
    Heartbeat,
    Hello,
    Loaded,
    LoadModel,
    Progress,
    Result,
)
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("failing_backend.py")
FINAL = (Finished, Failed, Cancelled, Loaded)


@pytest.fixture
def start(tmp_path):
    """Start a stand-in of a mode."""
    started = []

    def start(mode: str, start_seconds: float = PATIENCE) -> BackendProcess:
        command = [sys.executable, "-E", "-s", str(FAKE), mode]
        process = BackendProcess(command, ROOT, tmp_path / "logs" / "backend.log", start_seconds)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.stop()


def until(process: BackendProcess, *kinds) -> list:
    """All messages up to the first of these kinds, or to the end of the process."""
    messages = []

    def found() -> bool:
        messages.extend(process.poll(1))
        return not process.alive or bool(messages) and isinstance(messages[-1], kinds)

    wait_until(found)
    return messages


def test_a_burst_of_messages_is_taken_over_several_turns(start):
    process = start("mute")
    until(process, Hello)
    burst = [Progress("a", "load", step, 100, 0.0) for step in range(100)]
    for message in burst:
        process._messages.put(message)
    turns = [process.poll() for _ in burst]
    assert [one for turn in turns for one in turn if isinstance(one, Progress)] == burst
    assert max(map(len, turns)) <= 32


def test_a_job_comes_back_in_parts(start):
    process = start("ok")
    assert process.alive and process.hello is None
    assert isinstance(until(process, Hello)[-1], Hello)
    assert process.hello.devices[0].name == "cpu"
    process.send(Generate("a", seed=5))
    messages = until(process, *FINAL)
    assert [m.kind for m in messages if isinstance(m, Result)] == ["voxels", "gaussian", "mesh"]
    assert messages[-1].seed == 5
    assert process.exit_reason() == ""


def test_polling_keeps_to_its_limits(start):
    process = start("ok")
    until(process, Hello)
    process.send(Generate("a"))
    wait_until(lambda: len(process._messages) >= 8)  # four steps, three parts, the last word
    assert len(process.poll(max_messages=3, max_seconds=PATIENCE)) == 3
    assert len(process.poll(max_messages=100, max_seconds=-1)) == 1


def test_cancel(start):
    process = start("slow")
    process.send(Generate("a"))
    until(process, Progress)
    process.send(Cancel("a"))
    assert isinstance(until(process, *FINAL)[-1], Cancelled)


def test_a_killed_child_is_told_with_the_last_lines_of_its_log(start, tmp_path):
    process = start("die")
    process.send(Generate("a"))
    messages = until(process, *FINAL)
    assert [m.step for m in messages if isinstance(m, Progress)] == [1, 2]  # what it said before is not lost
    assert not process.alive
    assert "signal 9" in process.exit_reason()
    assert process.exit_reason().endswith("the last words of the backend")
    assert "the last words of the backend" in (tmp_path / "logs" / "backend.log").read_text()


def test_the_exit_code_is_told(start):
    process = start("exit")
    process.send(Generate("a"))
    until(process, *FINAL)
    assert "exit code 3" in process.exit_reason()
    assert "on fire" in process.exit_reason()


def test_a_child_that_never_speaks_is_given_up(start):
    process = start("silent", start_seconds=0.5)
    assert until(process, Hello) == []
    assert "did not answer within" in process.exit_reason()


def test_a_child_that_spoke_while_nobody_listened_is_not_given_up(start):
    process = start("ok", start_seconds=0.1)
    wait_until(lambda: len(process._messages))
    time.sleep(0.2)
    assert isinstance(process.poll(1)[0], Hello) and not process._fault


def test_no_silence_is_counted_while_everything_stood_still(start, monkeypatch):
    """As after Ctrl-Z, in whose time not even the thread that listens could hear anything."""
    monkeypatch.setattr(backend_process, "STANDSTILL_SECONDS", 0.2)
    greeted, silent = start("mute"), start("silent", start_seconds=1.0)
    until(greeted, Hello)
    for process in (greeted, silent):
        process._began = process._heard = process._polled = time.monotonic() - 1000
        process.poll()
        assert process.alive and process.seconds_since_heartbeat < 100


def test_silence_after_the_hello_shows_in_the_heartbeat(start):
    process = start("mute")
    until(process, Hello)
    wait_until(lambda: process.seconds_since_heartbeat > 0.3)
    assert process.alive


def test_heartbeats_tell_the_memory(start):
    process = start("ok")
    until(process, Heartbeat)
    assert process.memory_bytes == 123_000_000
    began = time.monotonic()
    wait_until(lambda: process.seconds_since_heartbeat < time.monotonic() - began)  # it was heard again


@pytest.mark.parametrize("mode", ["garbage", "old"])
def test_what_is_no_backend_is_ended_with_a_reason(start, mode):
    process = start(mode)
    assert not [m for m in until(process, Hello) if isinstance(m, Hello)]
    words = {"garbage": "no message", "old": f"version {PROTOCOL_VERSION + 1}; install the backend again"}
    assert words[mode] in process.exit_reason()


def test_stray_lines_between_messages_are_skipped_and_logged(start):
    process = start("chatty")
    process.send(Generate("a"))
    assert isinstance(until(process, *FINAL)[-1], Finished)
    assert "Unreadable" in process.log_tail()


def test_an_impossible_array_ends_its_job_and_not_the_child(start):
    process = start("huge")
    process.send(
        Generate("a"),
    )
    failed = until(process, *FINAL)[-1]
    assert (failed.job, failed.kind) == ("a", "protocol")
    process.send(LoadModel("b"))
    assert isinstance(until(process, *FINAL)[-1], Loaded)


def test_an_end_in_the_middle_of_an_array(start):
    process = start("truncated")
    process.send(Generate("a"))
    assert not [m for m in until(process, *FINAL) if isinstance(m, FINAL)]
    assert "exit code 0" in process.exit_reason()
    assert "middle of an array" in process.exit_reason()


def test_a_long_log_neither_blocks_nor_grows(start):
    process = start("noisy")
    until(process, Hello)
    assert len(process.log_tail(1000)) < 60 * 4097


def test_sending_never_blocks_and_is_bounded(start, monkeypatch):
    monkeypatch.setattr("blender_trellis.process.backend_process.UNSENT_BYTES", 40 << 20)
    process = start("deaf")
    until(process, Hello)
    picture = Array("u1", (8 << 20,), bytes(8 << 20))
    with pytest.raises(Fault, match="does not take"):
        for number in range(20):
            process.send(Generate(str(number), pictures=(picture,)))
    assert process.alive  # and has read nothing
    process.stop(grace=0.2)
    assert "signal" in process.exit_reason()


@pytest.mark.parametrize(
    ("mode", "grace", "end"),
    [("ok", PATIENCE, "exit code 0"), ("slow", 0.5, "signal"), ("stubborn", 0.5, "signal 9")],
)
def test_stop_asks_and_then_does_not_wait_for_the_end(start, mode, grace, end):
    process = start(mode)
    until(process, Hello)
    if mode == "slow":
        process.send(Generate("a"))
        until(process, Progress)
    process.stop(grace)
    until(process, *FINAL)
    assert not process.alive and end in process.exit_reason()


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from blender_trellis.process.backend_process import BackendProcess\n"
        f"process = BackendProcess([sys.executable, {str(FAKE)!r}, 'ok'], Path('.'), Path('log'))\n"
        "process.start()\n"
        "while process.hello is None: process.poll(); time.sleep(0.01)\n"
        "sys.stdout.write(f'{process._process.pid}\\n'); sys.stdout.flush()\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, str(parent)], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        process.kill()
    wait_until(lambda: not _runs(child))


@pytest.mark.parametrize("end", [BackendProcess.kill, BackendProcess.stop])
def test_a_hung_child_ends_with_all_that_it_has_started(tmp_path, end):
    """Neither listens to a signal that can be ignored; the grandchild holds the pipes too."""
    deaf = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)]; time.sleep(1000)"
    program = tmp_path / "hung.py"
    program.write_text(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}])\n"
        "sys.stderr.write(f'{child.pid}\\n'); sys.stderr.flush()\n"
        f"{deaf}\n"
    )
    process = BackendProcess([sys.executable, str(program)], tmp_path, tmp_path / "log")
    process.start()
    wait_until(process.log_tail)
    family = (process._process.pid, int(process.log_tail()))
    assert all(map(_runs, family))
    end(process)
    wait_until(lambda: not any(map(_runs, family)))
    process.stop()


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_interpreter_that_is_not_there_is_a_fault(tmp_path):
    process = BackendProcess([str(tmp_path / "python")], ROOT, tmp_path / "log")
    with pytest.raises(Fault, match="install the backend or choose another"):
        process.start()
    assert not process.alive
    assert process.exit_reason() == "The backend has not been started."


def test_blenders_python_variables_do_not_reach_the_child(start, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    command = [sys.executable, str(FAKE), "ok"]  # without -E, PYTHONHOME would break it
    process = BackendProcess(command, ROOT, tmp_path / "log")
    process.start()
    assert isinstance(until(process, Hello)[-1], Hello)
    process.stop()


def test_a_log_that_cannot_be_written_does_not_stop_the_backend(tmp_path):
    (tmp_path / "file").write_text("")
    process = BackendProcess([sys.executable, str(FAKE), "ok"], ROOT, tmp_path / "file" / "log")
    process.start()
    assert isinstance(until(process, Hello)[-1], Hello)
    process.stop()


def test_the_queue_of_messages_is_bounded_and_lets_go_when_closed():
    import threading

    messages = MessageQueue(limit_bytes=3000)
    done = threading.Event()

    def fill():
        for step in range(10):
            messages.put(Progress("a", "load", step, 10))
        done.set()

    threading.Thread(target=fill, daemon=True).start()
    wait_until(lambda: len(messages) == 2)
    assert not done.wait(0.2)
    assert len(messages) == 2
    assert messages.take().step == 0
    wait_until(lambda: len(messages) == 2)
    assert not done.is_set()
    messages.close()
    assert done.wait(PATIENCE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_stops_nobody():
    from blender_trellis.process.backend_log import BackendLog

    log = BackendLog(Path("/dev/full"))
    log.begin()
    lines = b"".join(b"line %d\n" % number for number in range(3000))
    stream = io.BytesIO(lines)
    log.follow(stream)
    log.note("a remark")
    assert not stream.read() and log.tail(2) == "line 2999\n[add-on] a remark"


@pytest.mark.parametrize(
    "fault", [subprocess.TimeoutExpired("taskkill", 10), FileNotFoundError(2, "taskkill")]
)
def test_a_taskkill_that_fails_leaves_no_process(monkeypatch, fault):
    """On Windows."""

    def taskkill(command, timeout, **_):
        assert command[-2:] == ["/PID", "7"] and timeout > 0
        raise fault

    ended = []
    child = SimpleNamespace(pid=7, poll=lambda: None, kill=lambda: ended.append(7))
    monkeypatch.setattr(process_tree, "os", SimpleNamespace(name="nt"))
    monkeypatch.setattr(process_tree.subprocess, "run", taskkill)
    process_tree.kill_tree(child)
    assert ended == [7]
