"""Run a program to its end, hand on its lines as they come, stop it when asked. No bpy."""

import os
import queue
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..faults import Fault

LOG_LINES = 40


class InstallError(Fault):
    """One sentence that names the fault and the remedy; `log` holds the failed program's last lines."""

    def __init__(self, sentence: str, log: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.log = tuple(log)


class InstallCancelled(InstallError):
    """The user asked to stop."""


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what leads another Python astray; of pip's settings only its targets go."""
    astray = re.compile(
        r"(PYTHON|CONDA)|(VIRTUAL_ENV|__PYVENV_LAUNCHER__|PIP_(TARGET|PREFIX|USER|REQUIRE_VIRTUALENV))$"
    )
    kept = {name: value for name, value in environ.items() if not astray.match(name.upper())}
    return kept | {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"}


def run(
    command: Sequence[str],
    on_line: Callable[[str], None],
    cancel: threading.Event,
    folder: Path | None = None,
) -> None:
    """Run a program, in `folder`, to its end; hand on its lines. Raises InstallError with the last ones."""
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=scrubbed(os.environ),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as fault:
        raise InstallError(f"{command[0]} does not start: {fault.strerror}.") from fault
    tail: deque[str] = deque(maxlen=LOG_LINES)
    try:
        for line in _lines(process, cancel):
            tail.append(line)
            on_line(line)
    finally:
        _stop(process)
    if process.returncode:
        raise InstallError(_sentence(command, tail), tail)


def _lines(process: subprocess.Popen[str], cancel: threading.Event) -> Iterator[str]:
    """The program's lines; a thread reads them, so that a silent program can be cancelled too."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        if cancel.is_set():
            raise InstallCancelled("Cancelled; what was downloaded stays in pip's cache.")
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            process.wait()
            return
        yield line


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _sentence(command: Sequence[str], tail: Sequence[str]) -> str:
    text = "\n".join(tail)
    if "No space left" in text or "ENOSPC" in text:
        return "The disk is full: free some space (or set TMPDIR to a roomier folder) and try again."
    if re.search(
        r"(NewConnectionError|Name or service not known|getaddrinfo failed|Network is unreachable)", text
    ):
        return "The packages cannot be reached: check the network (or pip's proxy setting) and try again."
    errors = [line for line in tail if re.match(r"\s*(ERROR|error|Error)\b", line)]
    reason = errors[-1].strip() if errors else (tail[-1] if tail else "no output")
    return f"{Path(command[0]).name} {' '.join(command[1:4])} failed: {reason}"
