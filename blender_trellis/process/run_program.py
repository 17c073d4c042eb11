"""Run a program to its end, hand on its lines as they come, stop it when asked. No bpy."""

import os
import queue
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

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
    log: Path | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
    on_silence: Callable[[], None] = lambda: None,
    folder: Path | None = None,
) -> None:
    """Run a program, in `folder`, to its end; hand on its lines as they come, to the file `log` too.

    variables: of its environment, beside the scrubbed ones of this process. on_silence: called while no line
    comes. Raises InstallError with the last lines, InstallCancelled.
    """
    tail: deque[str] = deque(maxlen=LOG_LINES)
    _write(log, f"> {' '.join(command)}\n")
    process = _start(command, folder, variables)
    try:
        for line in _lines(process, cancel, on_silence):
            tail.append(line)
            _write(log, line + "\n")
            on_line(line)
    finally:
        _stop(process)
    if process.returncode:
        raise InstallError(_sentence(command, tail), tail)


def begin_log(log: Path) -> None:
    """An empty log, in place of an earlier one. InstallError where it cannot be written."""
    _write(log, "", "w")


def _write(log: Path | None, text: str, mode: Literal["w", "a"] = "a") -> None:
    if log is None:
        return
    try:
        with log.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as fault:  # as on a full disk
        raise InstallError(
            f"The log {log} cannot be written ({fault.strerror or fault}): "
            "free some disk space, or let Blender write there."
        ) from fault


def _start(
    command: Sequence[str], folder: Path | None, variables: Mapping[str, str]
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=scrubbed(os.environ) | dict(variables),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as fault:
        raise InstallError(f"{command[0]} does not start: {fault.strerror or fault}.") from fault


def remove_folder(folder: Path) -> None:
    """Delete a folder that may not be there; a file in use is the user's to close."""
    try:
        shutil.rmtree(folder)
    except OSError as fault:
        if not os.path.lexists(folder):
            return
        raise InstallError(
            f"{folder} cannot be replaced ({fault.strerror or fault}): stop what uses it and try again."
        ) from fault


def _lines(
    process: subprocess.Popen[str], cancel: threading.Event, on_silence: Callable[[], None]
) -> Iterator[str]:
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
            raise InstallCancelled("Cancelled; what was downloaded is kept for the next time.")
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            on_silence()
            continue
        if line is None:
            process.wait()
            return
        yield line


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _sentence(command: Sequence[str], tail: Sequence[str]) -> str:
    text = "\n".join(tail)
    if "No space left" in text or "ENOSPC" in text:
        return "The disk is full: free some space (or set TMPDIR to a roomier folder) and try again."
    if re.search(
        r"(NewConnectionError|Name or service not known|getaddrinfo failed|Network is unreachable|dns error"
        r"|error sending request|tcp connect error)",
        text,
    ):
        return "The packages cannot be reached: check the network (or pip's proxy setting) and try again."
    if "matching Python" in text:  # wheels there are, for other versions
        return "The packages are not made for this Python: choose Python of Its Own in the preferences."
    if match := re.search(r"No solution found.*you require ([\w.-]+==[\w.+-]+\w)", text, re.DOTALL):
        return (
            f"{match[1]} is not to be had: check the network, the package index (pip's configuration) "
            "or the folder of wheels."
        )
    errors = [line.strip() for line in tail if re.match(r"\s*(ERROR|error|Error)\b", line)]
    causes = [line.strip().removeprefix("cause: ") for line in tail if re.match(r"\s*cause: ", line)]  # uv's
    reason = (errors or list(tail) or ["no output"])[-1] + (f": {causes[0]}" if causes else "")
    words = [word for word in command[1:4] if not word.startswith("--")]
    return f"{Path(command[0]).name} {' '.join(words)} failed: {reason}"
