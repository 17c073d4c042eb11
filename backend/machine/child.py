"""One function in a process of its own: for library code that lets no other thread run and cannot be stopped.

Such code would keep this process from hearing a cancel and from giving a sign of life. The child can be ended
at any moment; all of its memory goes with it.
"""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import numpy as np

_WAIT_SECONDS = 0.1
_ROOT = Path(__file__).resolve().parents[2]

Option = int | float | bool | str


def in_child(
    function: str,
    arrays: Sequence[np.ndarray],
    options: Mapping[str, Option],
    wait: Callable[[], None],
) -> tuple[np.ndarray, ...]:
    """The array, or arrays, that `function` ("package.module:name") makes of arrays and keyword options.

    `wait` is called ten times a second and may raise, which ends the child. Raises MemoryError where the
    child had too little memory, and RuntimeError with its last words where it failed otherwise.
    """
    flags = {
        flag
        for flag, is_set in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site))
        if is_set
    }
    child = subprocess.Popen(
        [sys.executable, *sorted(flags), "-m", __name__],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    request = _written(arrays, {"function": function, "options": dict(options)})
    Thread(target=_send, args=(child.stdin, request), daemon=True).start()
    child.stdin = None  # else communicate() would forget what is left to send when its time is up
    with child:
        try:
            while True:
                try:
                    answer, said = child.communicate(timeout=_WAIT_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    wait()
        except BaseException:
            child.kill()
            raise
    if child.returncode in (errno.ENOMEM, -getattr(signal, "SIGKILL", 9)):
        raise MemoryError(f"{function} had too little memory.")
    if child.returncode != 0:
        words = said.decode("utf-8", "replace").strip()
        raise RuntimeError(f"{function} ended with {child.returncode}: {words}")
    return _read(io.BytesIO(answer))[0]


def _send(stdin: BinaryIO, request: bytes) -> None:
    with suppress(BrokenPipeError), stdin:  # of a child that has ended
        stdin.write(request)


def _written(arrays: Sequence[np.ndarray], told: Mapping[str, Any]) -> bytes:
    """A line of JSON and the arrays behind it."""
    file = io.BytesIO()
    file.write(json.dumps({"arrays": len(arrays), **told}).encode() + b"\n")
    for array in arrays:
        np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _read(file: BinaryIO) -> tuple[tuple[np.ndarray, ...], dict[str, Any]]:
    told = json.loads(file.readline())
    return tuple(np.load(file, allow_pickle=False) for _ in range(told["arrays"])), told


def main() -> int:
    """What the child does: a request from stdin, the answer to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which Python could not follow in the middle of the call
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no part of the answer
    arrays, told = _read(io.BytesIO(sys.stdin.buffer.read()))
    module, _, name = told["function"].partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(*arrays, **told["options"])
    except MemoryError:
        return errno.ENOMEM
    with replies:
        replies.write(_written(made if isinstance(made, tuple) else (made,), {}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
