"""The server of jobs, as a real process over real pipes."""

import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.server import request_queue
from backend.server.channel import Channel
from blender_trellis.protocol import (
    Array,
    Cancel,
    Cancelled,
    CutOut,
    Failed,
    Finished,
    Generate,
    Heartbeat,
    Hello,
    Loaded,
    LoadModel,
    Progress,
    Reader,
    Result,
    Shutdown,
    encode,
)
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
FINAL = (Finished, Failed, Cancelled, Loaded)


class Child:
    """A served engine; every read of it is bounded by a timer that kills it."""

    def __init__(self, *arguments: str):
        program = str(Path(__file__).with_name("serve_fake_engine.py"))
        command = [sys.executable, "-E", "-s", program, *arguments]
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        self.process = subprocess.Popen(command, cwd=ROOT, **pipes)
        self.reader = Reader(self.process.stdout)
        self.timer = threading.Timer(PATIENCE, self.process.kill)
        self.timer.start()

    def send(self, *messages):
        for message in messages:
            self.raw(b"".join(map(bytes, encode(message))))

    def raw(self, data: bytes):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def next(self, *kinds):
        """The next message of one of these kinds."""
        while not isinstance(message := self.reader.read(), kinds):
            assert message is not None, "the server has gone"
        return message

    def rest(self):
        """All messages to the end of the stream."""
        messages = []
        while (message := self.reader.read()) is not None:
            messages.append(message)
        return messages

    def end(self) -> tuple[int, str]:
        """Close stdin; the exit code and the log."""
        self.process.stdin.close()
        log = self.process.stderr.read().decode()
        return self.process.wait(PATIENCE), log

    def close(self):
        self.timer.cancel()
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        self.process.wait()


@pytest.fixture
def child():
    one = Child()
    yield one
    one.close()


def test_says_hello_first_and_ends_with_stdin(child):
    assert isinstance(child.reader.read(), Hello)
    assert child.end()[0] == 0


def test_nothing_goes_out_before_hello():
    """A job that is cancelled while the engine is still loaded is answered afterwards."""
    stream = io.BytesIO()
    channel = Channel(stream)
    channel.send(Cancelled("a"))
    assert not stream.getvalue()
    channel.send(Hello(1, "0.1.0", "3.11", "none"))
    channel.send(Cancelled("b"))
    reader = Reader(io.BytesIO(stream.getvalue()))
    told = [reader.read() for _ in range(3)]
    assert [type(one) for one in told] == [Hello, Cancelled, Cancelled]
    assert [one.job for one in told[1:]] == ["a", "b"]


def test_a_job_from_request_to_last_word(child):
    child.send(Generate("a", seed=9))
    messages = []
    while not messages or not isinstance(messages[-1], FINAL):
        messages.append(child.next(Progress, Result, *FINAL))
    *steps, result, finished = messages
    assert [message.step for message in steps] == list(range(1, 11))
    assert isinstance(result, Result) and result.arrays["coords"].shape == (2, 3)
    assert isinstance(finished, Finished) and finished.seed == 9
    child.send(Shutdown())
    assert not [message for message in child.rest() if not isinstance(message, Heartbeat)]
    assert child.process.wait(PATIENCE) == 0


def test_two_jobs_at_a_time_where_there_is_room_for_two():
    child = Child("2")
    try:
        child.send(*(Generate(name, prompt="meeting") for name in "abcd"))  # none ends alone
        assert sorted(child.next(*FINAL).job for _ in "abcd") == [*"abcd"]
        assert child.end()[0] == 0
    finally:
        child.close()


def test_a_shutdown_leaves_no_job_without_its_last_word(child):
    child.send(Generate("a"), Generate("b", prompt="slow"), Generate("c"), Shutdown())
    assert sorted(message.job for message in child.rest() if isinstance(message, FINAL)) == ["a", "b", "c"]


def test_results_come_before_the_last_word_and_hold_the_numbers(child):
    child.send(Generate("a", seed=9))
    result = child.next(Result)
    coords = np.frombuffer(result.arrays["coords"].data, "<i4").reshape(2, 3)
    assert coords.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert result.info == {"resolution": 64, "structure_resolution": 8}
    assert child.next(*FINAL).seed == 9


def test_loads_a_model_and_names_a_missing_one(child):
    child.send(LoadModel("a"), LoadModel("b", "absent"))
    assert child.next(*FINAL).model_hash == "hash"
    failed = child.next(*FINAL)
    assert (failed.job, failed.kind) == ("b", "missing_model")
    assert "download it" in failed.message


@pytest.mark.parametrize(
    ("prompt", "kind", "words"),
    [
        ("user_error", "bad_input", "The picture is empty; choose another one."),
        ("bug", "internal", "ValueError"),
        ("memory", "out_of_memory", "memory was not enough"),
        ("allocator", "out_of_memory", "memory was not enough"),
        ("full_disk", "bad_input", "free some space"),
        ("no_temporary_folder", "bad_input", "free some space"),
        ("long_sentence", "bad_input", "xxx"),
    ],
)
def test_a_failed_job_has_one_last_word_and_the_next_one_runs(child, prompt, kind, words):
    child.send(Generate("a", prompt=prompt), Generate("b"))
    failed = child.next(*FINAL)
    assert (failed.job, failed.kind) == ("a", kind)
    assert words in failed.message
    assert child.next(*FINAL).job == "b"
    log = child.end()[1]
    assert ("Traceback" in log) == (
        prompt in ("bug", "memory", "allocator", "full_disk", "no_temporary_folder")
    )


def test_stray_output_goes_to_the_log(child):
    child.send(Generate("a", prompt="noise"), Generate("b"))
    assert isinstance(child.next(*FINAL), Finished)
    assert isinstance(child.next(*FINAL), Finished)
    log = child.end()[1]
    for line in ("a stray print", "a stray write to descriptor 1", "a stray line of a C library"):
        assert line in log


def test_cancel_takes_effect_within_one_step(child):
    child.send(Generate("a", prompt="slow"))
    assert child.next(Progress).step == 1
    child.send(Cancel("a"))
    last = child.next(Progress, *FINAL)  # of ten steps there is no second one
    assert last == Cancelled("a", last.seconds)
    child.send(Generate("a"))  # its name is free again
    assert isinstance(child.next(*FINAL), Finished)


@pytest.mark.parametrize("prompt", ["deep", "swallowing"])
def test_a_job_is_cancelled_in_the_middle_of_code_that_reports_nothing(child, prompt):
    child.send(Generate("a", prompt=prompt))
    while child.next(Progress).stage != "finish_mesh":
        pass
    child.send(Cancel("a"))
    assert isinstance(child.next(*FINAL), Cancelled)
    child.send(Generate("b"))  # the signal was for the job alone
    assert isinstance(child.next(*FINAL), Finished)
    assert child.end()[0] == 0


def test_a_cancel_waits_for_the_step_where_something_could_be_left_half_done(child):
    """Only the next progress call ends a job whose networks may be on their way into memory."""
    child.send(Generate("a", prompt="slow"), Cancel("a"))
    assert isinstance(child.next(*FINAL), Cancelled)
    child.send(Generate("b"))
    assert isinstance(child.next(*FINAL), Finished)


def in_its_call(child: Child) -> None:
    """Wait until the running job has told of its last step."""
    while child.next(Progress).step < 10:
        pass


def test_a_cancel_is_answered_within_a_call_that_cannot_be_left(child):
    child.send(Generate("a", prompt="held"))
    in_its_call(child)
    child.send(Cancel("a"))
    assert isinstance(child.next(*FINAL), Cancelled)  # the call goes on, as no other job waits
    child.send(Generate("a", seed=5), Shutdown())  # its name is free again, and its answer is the last word
    assert [message.job for message in child.rest() if isinstance(message, (Result, *FINAL))] == ["a"]


def test_a_job_that_never_ends_makes_room_for_the_next_one():
    """The process ends, so that whoever has started it starts it again; nothing is heard of the next job."""
    child = Child("1", "0.01")
    try:
        child.send(Generate("a", prompt="stuck"))
        in_its_call(child)
        child.send(Cancel("a"))
        assert child.next(*FINAL).job == "a"
        child.next(Heartbeat)
        assert child.process.poll() is None, "nobody waits yet"
        child.send(Generate("b"))
        assert not [message for message in child.rest() if isinstance(message, (Progress, *FINAL))]
        assert child.process.wait(PATIENCE) == 1
    finally:
        child.close()


def test_ctrl_c_ends_the_server_as_before(child):
    child.send(Generate("a", prompt="stuck"))
    in_its_call(child)
    child.process.send_signal(signal.SIGINT)
    child.rest()
    assert child.process.wait(PATIENCE) != 0


def png(*colors: tuple[int, ...]) -> Array:
    """A picture of 32 × 32 in columns of these colors."""
    pixels = np.repeat(np.tile(np.array(colors, np.uint8), (32, 1, 1)), 32 // len(colors), axis=1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Array("u1", (file.tell(),), file.getvalue())


def test_a_cut_out_is_answered_while_a_job_runs(child):
    """The left half is clear, so that the right one, 16 wide and 32 high, comes to the middle of a square."""
    child.send(Generate("long", prompt="slow"))
    child.next(Progress)
    child.send(CutOut("seen", (png((0, 0, 255, 0), (255, 0, 0, 255)),), "halves"))
    shown = child.next(Result)
    assert (shown.job, shown.kind) == ("seen", "cut_out")
    pixels = np.frombuffer(shown.arrays["pixels"].data, np.uint8).reshape(shown.arrays["pixels"].shape)
    assert pixels.shape == (518, 518, 3)
    assert pixels[259, 259].tolist() == [255, 0, 0] and not pixels[:, :100].any()
    assert child.next(*FINAL).job == "seen"
    child.send(CutOut("text", (Array("u1", (4,), b"text"),), "notes.txt"), CutOut("none"))
    failed = [child.next(*FINAL) for _ in range(2)]
    assert [(one.job, one.kind) for one in failed] == [("text", "bad_input"), ("none", "bad_input")]
    assert "notes.txt" in failed[0].message
    child.send(Cancel("long"))
    assert isinstance(child.next(*FINAL), Cancelled)


def test_a_waiting_job_is_cancelled_at_once(child):
    child.send(Generate("a", prompt="slow"), Generate("b"), Cancel("b"), Cancel("nobody"))
    assert child.next(*FINAL) == Cancelled("b")
    child.send(Cancel("a"))
    assert child.next(*FINAL).job == "a"


def test_the_end_of_stdin_ends_a_running_job(child):
    child.send(Generate("a", prompt="slow"), Generate("b"))
    child.next(Progress)
    assert child.end()[0] == 0
    ended = [message.job for message in child.rest() if isinstance(message, Cancelled)]
    assert sorted(ended) == ["a", "b"]


def test_the_end_of_stdin_ends_even_a_job_that_hears_nothing(child):
    child.send(Generate("a", prompt="stuck"))
    in_its_call(child)
    code, log = child.end()
    assert code == 0 and "The running job did not stop" in log


def test_the_end_of_stdin_without_a_job_is_no_fault(monkeypatch, caplog):
    """However slowly the process ends, such as one that is still importing torch."""
    codes = []
    monkeypatch.setattr(request_queue, "GRACE_SECONDS", 0)
    monkeypatch.setattr(request_queue.os, "_exit", codes.append)
    monkeypatch.setattr(request_queue.logging, "shutdown", lambda: None)
    request_queue.RequestQueue(io.BytesIO(), lambda message: None)._end(exit_code=0)
    assert codes == [0] and not caplog.records


def test_a_backend_that_can_hear_no_more_ends(monkeypatch, caplog):
    codes = []
    monkeypatch.setattr(request_queue.os, "_exit", codes.append)
    monkeypatch.setattr(request_queue.logging, "shutdown", lambda: None)
    request_queue.RequestQueue(None, lambda message: None)._listen()  # which no reader can read
    assert codes == [1] and "cannot be read any more" in caplog.text


def test_heartbeats_come_while_a_job_runs(child):
    child.send(Generate("a", prompt="slow"))
    while (beat := child.next(Heartbeat)).job != "a":
        pass  # it came before the job had begun
    assert beat.memory_bytes > 1 << 20


def test_bad_frames_are_named_and_the_next_job_runs(child):
    child.raw(b'{"type":"Generate","job":"a","seed":"x"}\n')
    child.raw(b'{"type":"Generate","job":"b","seed":NaN}\n')
    child.raw(b"what is this\n")
    child.raw(b'{"type":"Explode","job":"c","arrays":[{"name":"x","dtype":"u1","shape":[4]}]}\n\n\n\n\n')
    child.send(Hello(1, "", "", ""))
    child.send(Generate("d"))
    failures = [child.next(*FINAL) for _ in range(5)]
    assert all(isinstance(failed, Failed) and failed.kind == "protocol" for failed in failures)
    assert [failed.job for failed in failures] == ["a", "b", "", "c", ""]
    assert "Generate.seed must be a whole number" in failures[0].message
    assert isinstance(child.next(*FINAL), Finished)


def test_a_job_has_one_last_word_though_its_name_comes_twice(child):
    child.send(Generate("a", prompt="slow"), Generate("a"))
    child.raw(b'{"type":"Cancel","job":"a","why":"bored"}\n')
    for words in ("of this name", 'no field "why"'):
        failed = child.next(*FINAL)
        assert failed.job == "" and words in failed.message
    child.send(Cancel("a"))
    assert child.next(*FINAL).job == "a"


def test_names_of_jobs_are_bounded(child):
    child.send(Generate("x" * 300), Generate(""))
    assert [child.next(*FINAL).kind for _ in range(2)] == ["protocol", "protocol"]


def test_too_many_pictures_are_refused_rather_than_held(child):
    child.send(Generate("a", prompt="slow"))
    child.next(Progress)
    picture = Array("u1", (400 << 10,), bytes(400 << 10))
    child.send(*(Generate(name, pictures=(picture,)) for name in "bcd"))
    failed = child.next(*FINAL)
    assert (failed.job, failed.kind) == ("d", "protocol")
    assert "waiting" in failed.message


def test_a_stream_that_is_no_protocol_ends_it(child):
    child.next(Hello)
    child.raw(b"GET / HTTP/1.1\n" * 40)
    assert child.process.wait(PATIENCE) == 2
    assert sum(isinstance(message, Failed) for message in child.rest()) == 16


def test_a_listener_that_goes_away_ends_the_job(child):
    child.send(Generate("a", prompt="steady"))
    child.next(Progress)
    child.process.stdout.close()
    while b"a: Cancelled" not in child.process.stderr.readline():
        assert child.process.poll() is None
    assert child.end()[0] == 0


def backend(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-E", "-s", "-m", "backend", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


def test_the_commands_are_listed():
    shown = backend("--help")
    assert shown.returncode == 0
    assert {"serve", "generate", "selftest", "bench"} <= set(shown.stdout.split())


def test_help_is_shown_and_nothing_served():
    shown = backend("serve", "--help")
    assert shown.returncode == 0 and shown.stdout.startswith("usage: python -m backend serve")


def test_an_unknown_command_is_named():
    refused = backend("explode")
    assert refused.returncode == 2
    assert "explode" in refused.stderr and not refused.stdout
