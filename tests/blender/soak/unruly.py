"""A backend that misbehaves: stands before a real one or the fake one and spoils what that says.

python unruly.py COMMAND…       the fault of a job is in the name of its picture, as faults.py has it
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from faults import told_by  # noqa: E402

from blender_trellis import protocol as p  # noqa: E402

FINAL = (p.Finished, p.Failed, p.Cancelled)


class Unruly:
    """Hands messages on, until it is time."""

    def __init__(self, command: list[str]):
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        self._out = sys.stdout.buffer
        self._faults: dict[str, tuple[str, int]] = {}
        self._seen: dict[str, int] = {}
        self._done: set[str] = set()

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._child.stdout
        reader = p.Reader(self._child.stdout)
        while (message := reader.read()) is not None:
            self._answer(message)
        self._leave(self._child.wait() & 0xFF)

    def _listen(self) -> None:
        assert self._child.stdin
        reader = p.Reader(sys.stdin.buffer)
        try:
            while (message := reader.read()) is not None:
                if isinstance(message, p.Sampled) and message.picture_names:
                    self._faults[message.job] = told_by(message.picture_names[0])
                if isinstance(message, p.Cancel) and self._faults.get(message.job, ("", 0))[0] == "deaf":
                    continue
                for piece in p.encode(message):
                    self._child.stdin.write(piece)
                self._child.stdin.flush()
        except (OSError, p.ProtocolError):
            pass
        self._leave(0)

    def _leave(self, code: int) -> None:
        self._child.kill()
        os._exit(code)

    def _write(self, *pieces: p.Buffer) -> None:
        try:
            for piece in pieces:
                self._out.write(piece)
            self._out.flush()
        except OSError:
            self._leave(0)

    def _send(self, message: p.FromBackend) -> None:
        self._write(*p.encode(message))

    def _answer(self, message: p.FromBackend) -> None:
        job = getattr(message, "job", "")
        kind, at = self._faults.get(job, ("none", 0))
        seen = self._seen[job] = self._seen.get(job, 0) + 1
        due = job not in self._done and seen > at or isinstance(message, FINAL)
        if kind.startswith("lie"):
            return self._send(self._lie(kind, message))
        if kind == "none" or job in self._done or not due:
            return self._send(message)
        self._done.add(job)
        return self._misbehave(kind, message)

    def _misbehave(self, kind: str, message: p.FromBackend) -> None:
        frame = b"".join(bytes(piece) for piece in p.encode(message))
        half = max(1, len(frame) // 2)
        if kind == "die":
            return self._leave(3)
        if kind == "crash":
            self._child.kill()
            return os.kill(os.getpid(), signal.SIGSEGV if os.name == "posix" else signal.SIGTERM)
        if kind == "truncate":
            self._write(frame[:half])
            return self._leave(0)
        if kind == "stall":
            self._write(frame[:half])
            return time.sleep(1000)
        if kind in ("hang", "deaf"):
            return time.sleep(1000)
        if kind == "closed":
            self._out.close()
            os.close(1)
            return time.sleep(1000)
        if kind == "noise":
            self._write(random.Random(1).randbytes(1 << 18))
        elif kind == "huge":
            self._write(
                b'{"type":"Result","job":"x","kind":"mesh","arrays":[{"name":"vertices","dtype":"f4",'
            )
            self._write(b'"shape":[400000000000,3]}]}\n')
        elif kind == "first_word":
            self._send(p.Cancel("x"))
        elif kind == "garbage":
            self._write(b'\xff\xfe{"type"\n{"type":"Nothing"}\n[]\n')
        elif kind == "other_words":
            self._write(b'{"type":"Progress","job":"","stage":"dreaming","step":1,"steps":1}\n')
        elif kind == "hello":
            self._send(p.Hello(p.PROTOCOL_VERSION, "0", "3", "twice"))
        elif kind == "stranger":
            self._send(replace(message, job="stranger"))
        elif kind == "log":
            sys.stderr.write("x" * (1 << 20) + "\n")
            sys.stderr.flush()
        elif kind == "slow":
            for start in range(0, len(frame), max(1, len(frame) // 8)):
                self._write(frame[start : start + max(1, len(frame) // 8)])
                time.sleep(0.02)
            return None
        elif kind == "twice":
            self._send(message)
        return self._send(message)

    def _lie(self, kind: str, message: p.FromBackend) -> p.FromBackend:
        if not isinstance(message, p.Result):
            return message
        if kind == "lie_empty":
            return p.Heartbeat(0.0)
        arrays = dict(message.arrays)
        if message.kind == "mesh":
            vertices, faces = arrays["vertices"], arrays["faces"]
            spoiled = {
                "lie_index": {"faces": replace(faces, data=b"\xff\xff\xff\x7f" + bytes(faces.data)[4:])},
                "lie_shape": {"vertices": replace(vertices, shape=(vertices.shape[0] * 3, 1))},
                "lie_type": {"faces": replace(faces, dtype="f4")},
                "lie_nan": {
                    "vertices": replace(vertices, data=b"\x00\x00\xc0\x7f" + bytes(vertices.data)[4:])
                },
                "lie_name": {"corners": vertices},
            }
            arrays |= spoiled[kind]
        return replace(message, arrays=arrays)


if __name__ == "__main__":
    Unruly(sys.argv[1:]).run()
