"""A stand-in for the backend, run as a program: `failing_backend.py MODE`. Speaks the protocol without torch.

ok        answers every job with voxels, Gaussians, a mesh and its last word
slow      as ok, but in its first step until it hears a cancel
silent    never says a word
mute      says hello, then nothing
die       says hello; at the first job it writes to its log, starts the job and kills itself (kill -9)
exit      says hello; at the first job it exits with code 3
garbage   writes bytes that are no protocol
chatty    writes a line that is no message before its hello and within a job
huge      announces an array that is larger than any message may be, and goes on with text
truncated ends in the middle of an array
broken    its mesh has a face beyond the last vertex
old       speaks another version of the protocol, whose hello has another field
noisy     writes 3 MB to its log before its hello, and long lines
deaf      says hello and then reads nothing any more
stubborn  ignores SIGTERM, Shutdown and the end of stdin
"""

import os
import queue
import signal
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from blender_trellis.protocol import (
    PROTOCOL_VERSION,
    Array,
    Cancel,
    Cancelled,
    Device,
    Finished,
    Generate,
    Heartbeat,
    Hello,
    Loaded,
    LoadModel,
    ModelInfo,
    Progress,
    Reader,
    Result,
    Shutdown,
    encode,
)


def floats(rows: list[tuple[float, ...]]) -> Array:
    data = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    return Array("f4", (len(rows), len(rows[0])), data)


def integers(rows: list[tuple[int, ...]]) -> Array:
    data = b"".join(struct.pack(f"<{len(row)}i", *row) for row in rows)
    return Array("i4", (len(rows), len(rows[0])), data)


def keys(count: int) -> Array:
    return Array("i4", (count,), struct.pack(f"<{count}i", *range(count)))


def voxels(job: str) -> Result:
    arrays = {"coords": integers([(31, 31, 31), (32, 31, 31)]), "occupied": Array("u1", (64,), bytes(64))}
    return Result(job, "voxels", {"resolution": 64, "structure_resolution": 8}, arrays)


def gaussians(job: str) -> Result:
    arrays = {
        "position": floats([(0.0, 0.0, 0.0), (0.1, 0.0, 0.0)]),
        "f_dc": floats([(0.5, 0.0, -0.5)] * 2),
        "opacity": floats([(2.0,)] * 2),
        "scale": floats([(-4.0, -4.0, -4.0)] * 2),
        "rotation": floats([(1.0, 0.0, 0.0, 0.0)] * 2),
        "keys": keys(2),
    }
    return Result(job, "gaussian", {}, arrays)


def mesh(job: str, last_vertex: int = 3) -> Result:
    arrays = {
        "vertices": floats([(0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)]),
        "faces": integers([(0, 2, 1), (0, 1, last_vertex), (0, last_vertex, 2), (1, 2, last_vertex)]),
        "colors": floats([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0)]),
        "keys": keys(4),
    }
    return Result(job, "mesh", {}, arrays)


class FakeBackend:
    """Answers on stdout what comes in on stdin, in the manner of its mode."""

    def __init__(self, mode: str):
        self.mode = mode
        self.lock = threading.Lock()
        self.jobs: queue.Queue[Generate | LoadModel | None] = queue.Queue()
        self.given_up: set[str] = set()

    def send(self, message) -> None:
        with self.lock:
            for piece in encode(message):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()

    def raw(self, data: bytes) -> None:
        with self.lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def hello(self) -> None:
        version = PROTOCOL_VERSION + 1 if self.mode == "old" else PROTOCOL_VERSION
        said = Hello(
            version,
            "0.1.0",
            "3.11",
            "none",
            (Device("cpu", "Fake processor", 1 << 30),),
            (ModelInfo("starter", ("pictures",)),),
        )
        if self.mode == "old":
            return self.raw(b"".join(map(bytes, encode(said))).replace(b"}\n", b',"mood":"good"}\n'))
        return self.send(said)

    def run(self) -> int:
        if self.mode == "silent":
            time.sleep(1000)
        if self.mode == "garbage":
            self.raw(os.urandom(100_000).replace(b"\n", b"") + b"\n" * 100)
            time.sleep(1000)
        if self.mode == "chatty":
            self.raw(b"a library says good morning\n")
        if self.mode == "noisy":
            sys.stderr.write(("word " * 2000 + "\n") * 300)
        if self.mode == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.hello()
        if self.mode == "deaf":
            time.sleep(1000)
        threading.Thread(target=self.read, daemon=True).start()
        threading.Thread(target=self.beat, daemon=True).start()
        while (job := self.jobs.get()) is not None:
            self.answer(job)
        if self.mode == "stubborn":
            time.sleep(1000)
        return 0

    def read(self) -> None:
        reader = Reader(sys.stdin.buffer)
        while (message := reader.read()) is not None and not isinstance(message, Shutdown):
            if isinstance(message, Cancel):
                self.given_up.add(message.job)
            else:
                self.jobs.put(message)
        self.jobs.put(None)

    def beat(self) -> None:
        while self.mode not in ("mute", "stubborn"):
            self.send(Heartbeat(1.0, 123_000_000))
            time.sleep(0.2)

    def answer(self, job: Generate | LoadModel) -> None:
        name = job.job
        if isinstance(job, LoadModel):
            return self.send(Loaded(name, job.model, "cpu", "float32"))
        if self.mode == "mute":
            return None
        if self.mode == "exit":
            sys.stderr.write("the disk is on fire\n")
            sys.stderr.flush()
            os._exit(3)
        steps = 4
        for step in range(1, steps + 1):
            if name in self.given_up:
                return self.send(Cancelled(name))
            self.send(Progress(name, "sparse_structure", step, steps))
            if self.mode == "die" and step == 2:
                sys.stderr.write("the last words of the backend\n")
                sys.stderr.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mode == "chatty":
                self.raw(b"100%|####| a progress bar\n")
            while self.mode == "slow" and name not in self.given_up:
                time.sleep(0.01)
        if self.mode == "huge":
            self.raw(
                b'{"type":"Result","job":"%s","kind":"mesh","arrays":[{"name":"a","dtype":"f4",'
                % name.encode()
            )
            return self.raw(b'"shape":[1000000000,1000]}]}\n')
        if self.mode == "truncated":
            self.raw(b"".join(map(bytes, encode(mesh(name))))[:-5])
            os._exit(0)
        for result in (voxels(name), gaussians(name), mesh(name, 4 if self.mode == "broken" else 3)):
            self.send(result)
        return self.send(Finished(name, 1.5, job.seed, job.model, "a" * 64, "b" * 64))


if __name__ == "__main__":
    sys.exit(FakeBackend(sys.argv[1]).run())
