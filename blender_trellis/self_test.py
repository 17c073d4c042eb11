"""Runs the engine's self-test in its own process and puts the outcome into a sentence. No bpy here."""

import json
import os
import subprocess
import threading
from pathlib import Path

from .background_task import Report
from .faults import Fault
from .run_program import scrubbed

LOG_LINES = 6


def run_self_test(python: Path, root: Path, device: str, report: Report, cancelled: threading.Event) -> str:
    """A sentence that says how many components passed. Fault with the names of those that did not."""
    command = [str(python), "-E", "-s", "-m", "backend", "selftest", "--json", "--device", device]
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
        results = json.loads(output)["results"]
        failed = [result["component"] for result in results if not result["passed"]]
    except (ValueError, KeyError, TypeError) as error:
        last = "\n".join(errors.strip().splitlines()[-LOG_LINES:])
        raise Fault(f"The self-test did not run to its end (exit code {code}).\n{last}") from error
    if failed or code != 0:
        names = ", ".join(failed) or "nothing was tested"
        raise Fault(
            f"{len(failed)} of {len(results)} checks failed ({names}): results on this device are wrong."
        )
    return f"All {len(results)} checks passed."
