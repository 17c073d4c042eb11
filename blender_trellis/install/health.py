"""Whether an interpreter can run the backend: its packages, their versions, and that they import. No bpy."""

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..process.run_program import InstallCancelled, scrubbed
from .check_packages import pins
from .python_environment import read_mark

PROGRAM = Path(__file__).with_name("check_packages.py")
CHECK_SECONDS = 600.0  # a first import of torch compiles thousands of files, on a slow disk
WAIT_SECONDS = 0.1
# A package that rembg needs compiles its loops whenever it is new, for a minute, which tells nothing.
VARIABLES = {"NUMBA_DISABLE_JIT": "1"}
LOG_LINES = 20
NAMED = 3


@dataclass(frozen=True)
class Health:
    """What is known of an interpreter. is_right: it runs what this add-on needs, at its versions."""

    is_right: bool
    sentence: str  # of a right one what it is, else what is wrong and what to do
    log: tuple[str, ...] = ()


def lock_of(extension_root: Path, accelerator: str) -> Path:
    """The lock file of a build of torch."""
    return extension_root / "backend" / "requirements" / f"{accelerator}.txt"


def lock_for(python: Path, extension_root: Path) -> Path:
    """The lock that the environment of `python` says it holds; the processor's where it says nothing."""
    mark = read_mark(python.parent.parent) or {}
    return lock_of(extension_root, "cuda" if mark.get("accelerator") == "cuda" else "cpu")


def check(
    python: Path, lock: Path, cancel: threading.Event | None = None, installed_here: bool = True
) -> Health:
    """Ask `python` for the packages of `lock`. Takes seconds, after an installation minutes.

    installed_here: whether "Install Backend" made it, so that its versions must be the lock's; somebody's own
    may have others. Raises InstallCancelled.
    """
    remedy = "repair it" if installed_here else "mend it, or choose another Python"
    try:
        code, output, errors = _answer([str(python), "-E", "-s", str(PROGRAM), str(lock)], cancel)
    except OSError as fault:
        reason = fault.strerror or str(fault)
        return Health(False, f"The backend's Python {python} does not start ({reason}): {remedy}.")
    log = tuple(errors.strip().splitlines()[-LOG_LINES:])
    try:
        told = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        reason = log[-1] if log else f"exit status {code}"
        return Health(False, f"The backend's Python {python} does not work ({reason}): {remedy}.", log)
    other = [f"{name} {found} instead of {wanted}" for name, (found, wanted) in told["other"].items()]
    if wrong := _fault(told, len(pins(str(lock))), other if installed_here else []):
        return Health(False, f"{wrong}: {remedy}.", log)
    versions = told["versions"]
    known = [f"{name} {versions[name]}" for name in ("torch", "transformers") if name in versions]
    return Health(True, ", ".join([f"Python {told['python']}", *known]), log)


def _fault(told: dict, packages: int, other: list[str]) -> str:
    """What is wrong with what an interpreter has told of itself, "" where nothing is."""
    if told["missing"]:
        return f"{len(told['missing'])} of its {packages} packages are missing ({_some(told['missing'])})"
    for name, why in told["failed"].items():
        return f"Its packages cannot be imported ({name}: {why})"
    return f"Its packages are of another version of the add-on ({_some(other)})" if other else ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _answer(command: list[str], cancel: threading.Event | None) -> tuple[int, str, str]:
    """(exit code, output, errors) of a program that is waited for. OSError, InstallCancelled."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=scrubbed(os.environ) | VARIABLES,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    ) as process:
        deadline = time.monotonic() + CHECK_SECONDS
        while True:
            try:
                output, errors = process.communicate(timeout=WAIT_SECONDS)
                return process.returncode, output, errors
            except subprocess.TimeoutExpired:
                if cancel is not None and cancel.is_set():
                    process.kill()
                    raise InstallCancelled("Cancelled.") from None
                if time.monotonic() > deadline:
                    process.kill()
                    return 1, "", f"it did not answer within {CHECK_SECONDS:.0f} seconds"
