"""report.jsonl: one line for each object as soon as it has ended, by which a later run goes on.

Each part of a batch that is dealt out has a report of its own, report.2-of-8.jsonl.
"""

import contextlib
import errno
import json
import os
from dataclasses import asdict
from io import FileIO
from pathlib import Path

from ..faults import Fault
from ..file_lock import lock_file
from .outcomes import Outcome, line_of

REPORT = "report"
_FAR_BEHIND = 1 << 30  # the end of any report, which stays readable on Windows


def report_name_of(share: tuple[int, int] | None) -> str:
    """The name of a report without suffix: of the whole batch, or of one part."""
    return REPORT if share is None else f"{REPORT}.{share[0]}-of-{share[1]}"


def files_noted(folder: Path) -> frozenset[Path]:
    """Those in a folder that its reports list as written."""
    names: set[str] = set()
    with contextlib.suppress(OSError):  # whoever writes there tells of it
        for report in folder.glob(f"{REPORT}*.jsonl"):
            names |= {name for one in _outcomes(report.read_bytes()).values() for name in one.file_names}
    return frozenset(folder.resolve() / name for name in names)


class Journal:
    """The report of a folder. A line is on the disk before the next object begins."""

    def __init__(self, folder: Path, resume: bool = False, name: str = REPORT):
        """Begins a new report, or with `resume` goes on with the one that is there. Raises Fault.

        That of a whole batch takes over what the reports of its parts tell.
        """
        self._path = folder / f"{name}.jsonl"
        try:
            self._file = open(self._path, "ab", buffering=0)
            if not _is_ours(self._file):
                self._file.close()
                raise Fault(
                    f'Another batch is writing into "{folder}": wait until it has ended, or choose another '
                    "output folder."
                )
            whole = self._whole_lines() if resume else b""
            self._file.truncate(len(whole))
        except OSError as error:
            raise self._fault(error) from error
        self._told = _outcomes(whole)
        is_whole_batch = resume and name == REPORT
        self._parts = self._read_parts(folder) if is_whole_batch else {}

    def tells_of(self, name: str) -> bool:
        """Whether an earlier run has noted anything under this name."""
        return name in self._told or name in self._parts

    def failed(self, name: str) -> bool:
        """Whether the last thing noted under this name is that it could not be made."""
        return name in self._told and bool(self._told[name].error)

    def made(self, name: str, request_hash: str) -> Outcome | None:
        """What was made under this name by an equal request, if all of its files still lie in the folder."""
        for told in (self._told, self._parts):
            outcome = told.get(name)
            if outcome is not None and self._stands(outcome, request_hash):
                if told is self._parts:
                    self.note(outcome)
                return outcome
        return None

    def _stands(self, outcome: Outcome, request_hash: str) -> bool:
        if outcome.error or outcome.request_hash != request_hash or not outcome.files:
            return False
        paths = [self._path.parent / name for name in outcome.file_names]
        return all(os.path.isfile(path) and path.stat().st_size for path in paths)

    def note(self, outcome: Outcome) -> None:
        """Adds a line. Raises Fault where that cannot be written."""
        self._told[outcome.name] = outcome
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

    def _read_parts(self, folder: Path) -> dict[str, Outcome]:
        """What the reports of parts tell, by name."""
        told: dict[str, Outcome] = {}
        for path in sorted(folder.glob(f"{REPORT}.*-of-*.jsonl")):
            try:
                told |= _outcomes(path.read_bytes())
            except OSError as error:
                raise self._fault(error) from error
        return told

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


def _is_ours(file: FileIO) -> bool:
    """Takes a report for this process, until it is closed; False where another one has it.

    File systems that know no locks, as some of networks, let everybody have it.
    """
    try:
        lock_file(file.fileno(), at=_FAR_BEHIND)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _outcomes(report: bytes) -> dict[str, Outcome]:
    """The last outcome that a report tells of each name."""
    return {outcome.name: outcome for outcome in filter(None, map(_read, report.splitlines()))}


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
