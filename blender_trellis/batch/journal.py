"""report.jsonl: one line for each object as soon as it has ended, by which a later run goes on."""

import contextlib
import errno
import json
import os
from dataclasses import asdict
from pathlib import Path

from ..faults import Fault
from .outcomes import Outcome, line_of

NAME = "report.jsonl"


class Journal:
    """The report of a folder. A line is on the disk before the next object begins."""

    def __init__(self, folder: Path, resume: bool = False):
        """Begins a new report, or with `resume` goes on with the one that is there. Raises Fault."""
        self._path = folder / NAME
        try:
            whole = self._whole_lines() if resume else b""
            self._file = open(self._path, "ab", buffering=0)
            self._file.truncate(len(whole))
        except OSError as error:
            raise self._fault(error) from error
        told = filter(None, map(_read, whole.splitlines()))
        self._told = {outcome.name: outcome for outcome in told}

    def tells_of(self, name: str) -> bool:
        """Whether an earlier run has noted anything under this name."""
        return name in self._told

    def made(self, name: str, request_hash: str) -> Outcome | None:
        """What was made under this name by an equal request, if all of its files still lie in the folder."""
        outcome = self._told.get(name)
        if outcome is None or outcome.error or outcome.request_hash != request_hash or not outcome.files:
            return None
        paths = [self._path.parent / Path(file).name for file in outcome.files]
        return outcome if all(path.is_file() and path.stat().st_size for path in paths) else None

    def note(self, outcome: Outcome) -> None:
        """Adds a line. Raises Fault where that cannot be written."""
        line = json.dumps(line_of(outcome), allow_nan=False).encode("ascii") + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(before)
            raise self._fault(error) from error

    def close(self) -> None:
        """Ends the report."""
        self._file.close()

    def _whole_lines(self) -> bytes:
        """What the report holds, but for a line that a kill has cut off."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return b""
        return data[: data.rfind(b"\n") + 1]

    def _fault(self, error: OSError) -> Fault:
        reason = error.strerror or error
        return Fault(f'The report "{self._path}" cannot be written ({reason}): choose another output folder.')


def _read(line: bytes) -> Outcome | None:
    """The outcome that a line tells of; None of what is no such line."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    blank = asdict(Outcome(""))
    values = {key: told[key] for key in blank if key in told} if isinstance(told, dict) else {}
    fits = all(isinstance(value, type(blank[key])) for key, value in values.items())
    return Outcome(**values) if fits and values.get("name") else None
