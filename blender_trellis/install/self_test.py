"""Runs the engine's self-test in its own process and puts the outcome into a sentence. No bpy here."""

import json
import os
import subprocess
import threading
from pathlib import Path

from ..faults import Fault
from ..process.background_task import Report
from ..process.run_program import scrubbed

LOG_LINES = 6
NAMED = 3


def run_self_test(
    python: Path, root: Path, tested: tuple[str, str], report: Report, cancelled: threading.Event
) -> str:
    """A sentence that says how many components passed on the `tested` device and engine.

    Fault with the names of those that did not.
    """
    command = [str(python), "-E", "-s", "-m", "backend", "selftest", "--json"]
    command += ["--device", tested[0], "--engine", tested[1]]
    report(0.0, "comparing with reference results")
    try:
        process = subprocess.Popen(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=scrubbed(os.environ),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise Fault(
            f"The backend's Python cannot be started ({error.strerror}): install the backend."
        ) from error
    with process:
        while True:
            try:
                output, errors = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if cancelled.is_set():
                    process.kill()
                    raise Fault("The self-test was stopped.") from None
    return outcome(process.returncode, output, errors)


def outcome(code: int, output: str, errors: str) -> str:
    """What the command's output means, as a sentence. Fault where anything failed."""
    try:
        checks = json.loads(output)["checks"]
        failed = [f"{check['golden']}: {check['component']}" for check in checks if not check["passed"]]
    except (ValueError, KeyError, TypeError) as error:
        last = "\n".join(errors.strip().splitlines()[-LOG_LINES:])
        raise Fault(f"The self-test did not run to its end (exit code {code}).\n{last}") from error
    if failed or code != 0 or not checks:
        names = ", ".join(failed[:NAMED]) + (" and others" if len(failed) > NAMED else "")
        raise Fault(
            f"{len(failed)} of {len(checks)} checks failed ({names or f'exit code {code}'}): results on this "
            "device cannot be trusted; choose another device or engine."
        )
    return f"All {len(checks)} checks passed."
