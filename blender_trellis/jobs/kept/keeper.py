"""Keeps a session's queue in a folder as it changes, and finds what sessions left that ended. No bpy here.

A thread of its own writes, one file after the other; what it cannot write it tries again.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ..job import Job
from ..placement import Placement
from .files import ORDER, KeptJob, read_job, read_order, write_order, write_request, write_result
from .lock import take_lock

log = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Left:
    """A job of a session that has ended, finished or still to be run."""

    job: Job
    placement: Placement


class QueueKeeper:
    """The folder of this session's jobs below `root`; it is there only while there are any."""

    def __init__(self, root: Path):
        self._root = root
        self._folder = root / uuid.uuid4().hex[:12]
        self._kept: tuple[KeptJob, ...] = ()
        self._lock: IO[bytes] | None = None
        self._writer = ThreadPoolExecutor(1, "queue")
        self._left: dict[Path, tuple[KeptJob, ...]] | None = None  # None until it is looked for
        # What is to be done, by the file's name; only the thread changes it.
        self._unwritten: dict[str, Callable[[], object]] = {}
        self._tried = time.monotonic()
        self.fault = ""  # why not all of the queue is written

    def keep(self, jobs: Iterable[tuple[Job, Placement]]) -> None:
        """The jobs that are not in a scene yet, in their order: written where they are not as before."""
        held = {job.id: (job, KeptJob(job.id, place, job.state == "finished")) for job, place in jobs}
        kept = tuple(one for _, one in held.values())
        if kept == self._kept:
            if self.fault and time.monotonic() - self._tried > AGAIN_SECONDS:
                self._tried = time.monotonic()
                self._writer.submit(self._write_all)
            return
        before = {one.id: one for one in self._kept}
        self._kept = kept
        for job, one in held.values():
            if one.id not in before:
                self._do(f"{one.id}.request", partial(self._keep_request, job))
            if one.finished and not (one.id in before and before[one.id].finished):
                self._do(f"{one.id}.result", partial(self._keep_result, job))
        self._do(ORDER, partial(self._write, kept))

    def left(self) -> int:
        """How many jobs the sessions left that have ended."""
        if self._left is None:
            self._left = _left_below(self._root)
        return sum(map(len, self._left.values()))

    def adopt(self) -> list[Left]:
        """The jobs that were left; `forget_left` takes their files."""
        found = []
        for folder, kept in (self._left or {}).items():
            jobs = [(read_job(folder, one), one.placement) for one in kept]
            found += [Left(job, placement) for job, placement in jobs if job is not None]
        return found

    def forget_left(self) -> None:
        """Takes away what was left, once all that was asked of `keep` before is written."""
        folders, self._left = tuple(self._left or ()), {}
        for folder in folders:
            self._do(folder.name, partial(shutil.rmtree, folder, ignore_errors=True))

    def close(self) -> None:
        """Waits until all is written; jobs that are still there stay in their folder for the next session."""
        self._writer.submit(self._write_all)
        self._writer.shutdown()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _do(self, name: str, work: Callable[[], object]) -> None:
        self._writer.submit(self._write_all, name, work)

    def _write_all(self, name: str = "", work: Callable[[], object] = lambda: None) -> None:
        """Does the work on a file, in place of an earlier one, after what could not be done before."""
        self._unwritten.pop(name, None)
        fault = ""
        for one, todo in [*self._unwritten.items(), (name, work)]:
            try:
                todo()
                self._unwritten.pop(one, None)
            except OSError as error:  # such as a full disk: the jobs are in memory, and go on
                self._unwritten[one] = todo
                fault = f"The queue could not be saved ({error.strerror or error}): free some disk space."
                log.warning("%s", fault)
        self.fault = fault

    def _keep_request(self, job: Job) -> None:
        write_request(self._open(), job)

    def _keep_result(self, job: Job) -> None:
        write_result(self._open(), job)

    def _open(self) -> Path:
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(self._folder)
        return self._folder

    def _write(self, kept: tuple[KeptJob, ...]) -> None:
        """Says which jobs there are, and takes away the files of all others."""
        names = {ORDER, *(f"{one.id}.{suffix}" for one in kept for suffix in ("request", "result"))}
        self._unwritten = {name: work for name, work in self._unwritten.items() if name in names}
        if not kept:
            if self._lock is not None:
                self._lock.close()
                self._lock = None
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        write_order(self._open(), kept)
        for path in self._folder.glob("*.re*"):
            if path.name not in names:
                path.unlink(missing_ok=True)


def _left_below(root: Path) -> dict[Path, tuple[KeptJob, ...]]:
    """The folders whose sessions have ended, and their jobs; folders without any are removed, and those whose
    jobs cannot be told are left for who can.
    """
    found: dict[Path, tuple[KeptJob, ...]] = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        lock = take_lock(folder)
        if lock is None:
            continue
        lock.close()
        kept = read_order(folder)
        if kept:
            found[folder] = kept
        elif kept is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return found
