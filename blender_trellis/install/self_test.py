"""Runs the engine's self-test in its own process and puts the outcome into a sentence. No bpy here."""

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..faults import Fault
from ..process.background_task import Report
from ..process.run_program import scrubbed

LOG_LINES = 6
NAMED = 3
VISIBLE = 1e-3
"""Largest absolute error of a result that no object shows: colours have steps of 4e-3, voxels of 1.6e-2."""


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
        told = json.loads(output)
        checks = [_Check(**{name: row.get(name, "") for name in FIELDS}) for row in told["checks"]]
        missed = [check for check in checks if not check.passed]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        last = "\n".join(errors.strip().splitlines()[-LOG_LINES:])
        raise Fault(f"The self-test did not run to its end (exit code {code}).\n{last}") from error
    if not missed and code == 0 and checks:
        return f"All {len(checks)} checks passed."
    if not missed:
        raise Fault(f"The self-test compared {len(checks)} results and ended with exit code {code}.")
    named = "; ".join(check.words for check in missed[:NAMED]) + ("; …" if len(missed) > NAMED else "")
    meaning = _meaning(missed, str(told.get("device", "")), str(told.get("engine", "")))
    raise Fault(f"{len(missed)} of {len(checks)} checks missed: {named}. {meaning}")


@dataclass(frozen=True)
class _Check:
    """One compared result. error is None or "" where it is not a number."""

    golden: str
    component: str
    passed: bool
    error: float | str | None = ""
    tolerance: float | str = ""
    fault: str = ""

    @property
    def size(self) -> float:
        return float(self.error) if isinstance(self.error, int | float) else float("inf")

    @property
    def words(self) -> str:
        """What missed, and by how much."""
        name = f"{self.golden} ({self.component})"
        if self.fault or not isinstance(self.tolerance, int | float) or self.size == float("inf"):
            return f"{name} {self.fault.rstrip('.') or 'is not comparable'}"
        return f"{name} is off by {self.size:.2g}, where {self.tolerance:.2g} is allowed"


FIELDS = tuple(one.name for one in fields(_Check))


def _meaning(missed: Sequence[_Check], device: str, engine: str) -> str:
    """What that says of the objects made here, and what to do."""
    if all(not check.fault and check.size <= VISIBLE for check in missed):
        return (
            "That is a rounding difference far below what can be seen: objects made here are good, only not "
            "equal to the last bit with those of another machine."
        )
    if engine not in ("", "torch"):
        return "Objects made here may be wrong: choose the engine PyTorch and test again."
    if device not in ("", "cpu"):
        return "Objects made here may be wrong: update the driver, or choose the device cpu, and test again."
    return "Objects made here may be wrong: repair the backend and test again; if it stays, report it."
