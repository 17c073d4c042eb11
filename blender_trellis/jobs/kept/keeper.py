"""Keeps a session's queue in a folder as it changes, and finds what sessions left that ended. No bpy here.

A thread of its own writes, one file after the other; what it cannot write it tries again.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from ..job import Job
from ..placement import Placement
from .files import ORDER, KeptJob, Order, read_job, read_order, write_order, write_request, write_result
from .lock import take_lock

log = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0
FRESH_SECONDS = 60.0  # in which a folder without jobs may be one that another Blender has just made


@dataclass(frozen=True)
class Left:
    """A job of a session that has ended, finished or still to be run."""

    job: Job
    placement: Placement


@dataclass(frozen=True)
class Adopted:
    """What is gone on with. unreadable: how many jobs cannot be read; elsewhere: whether another Blender goes
    on with some, or has."""

    jobs: tuple[Left, ...] = ()
    unreadable: int = 0
    elsewhere: bool = False


@dataclass(frozen=True)
class _Taken:
    """The lock of a folder that was left, which jobs of it were read, and what is to stay in it."""

    lock: IO[bytes]
    read: tuple[str, ...] = ()
    remains: Order = Order()


class QueueKeeper:
    """The folder of this session's jobs below `root`; it is there only while there are any."""

    def __init__(self, root: Path):
        self._root = root
        self._folder = root / uuid.uuid4().hex[:12]
        self._kept: tuple[KeptJob, ...] = ()
        self._lock: IO[bytes] | None = None
        self._writer = ThreadPoolExecutor(1, "queue")
        self._left: dict[Path, Order] | None = None  # None until it is looked for
        self._adopted: dict[Path, _Taken] = {}  # folders that this session goes on with
        self._settled: dict[Path, _Taken] = {}  # those that are to go once all is written; for the thread
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
        return sum(len(order.jobs) for order in self._left.values())

    def adopt(self) -> Adopted:
        """The jobs that were left, which are no other Blender's from now on; `settle` takes their files."""
        found: list[Left] = []
        unreadable, elsewhere = 0, False
        for folder, order in (self._left or {}).items():
            taken = self._adopted.get(folder) or _take(folder)
            if taken is None:
                elsewhere = True
                continue
            jobs = [(one, read_job(folder, one)) for one in order.jobs]
            found += [Left(job, one.placement) for one, job in jobs if job is not None]
            remains = Order(tuple(one for one, job in jobs if job is None), order.others)
            read = tuple(one.id for one, job in jobs if job is not None)
            self._adopted[folder] = replace(taken, read=read, remains=remains)
            unreadable += len(remains.jobs) + len(remains.others)
        return Adopted(tuple(found), unreadable, elsewhere)

    def settle(self) -> None:
        """Takes away what was adopted, once all that was asked of `keep` before is written; what cannot be
        read stays."""
        taken, self._adopted, self._left = self._adopted, {}, {}
        self._writer.submit(self._settle, taken)

    def discard_left(self) -> None:
        """Takes away what was left, at once, but for what another Blender goes on with."""
        for folder in self._left or ():
            taken = self._adopted.pop(folder, None) or _take(folder)
            if taken is not None:
                self._writer.submit(_let_go, folder, replace(taken, remains=Order()))
        self._left = {}

    def close(self) -> None:
        """Waits until all is written; jobs that are still there stay in their folder for the next session."""
        self._writer.submit(self._write_all)
        self._writer.shutdown()
        for taken in (*self._adopted.values(), *self._settled.values()):
            taken.lock.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _settle(self, taken: dict[Path, _Taken]) -> None:
        self._settled |= taken
        self._write_all()

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
        while self._settled and not self._unwritten:
            _let_go(*self._settled.popitem())

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
        write_order(self._open(), Order(kept))
        for path in self._folder.glob("*.re*"):
            if path.name not in names:
                path.unlink(missing_ok=True)


def _take(folder: Path) -> _Taken | None:
    """A folder that was left, for this Blender alone; None where another one goes on with it, or has."""
    lock = take_lock(folder)
    if lock is None:
        return None
    if not (folder / ORDER).is_file():
        lock.close()
        return None
    return _Taken(lock)


def _let_go(folder: Path, taken: _Taken) -> None:
    """Takes away all of a folder but what remains in it."""
    remains = taken.remains
    try:
        if remains != Order():
            write_order(folder, remains)
            for name in (f"{job}.{suffix}" for job in taken.read for suffix in ("request", "result")):
                (folder / name).unlink(missing_ok=True)
        else:
            (folder / ORDER).unlink(missing_ok=True)  # before the lock, so that nobody finds it meanwhile
    except OSError as error:  # the next Blender offers it again
        log.warning("%s cannot be changed: %s", folder, error)
    taken.lock.close()
    if remains == Order():
        shutil.rmtree(folder, ignore_errors=True)


def _left_below(root: Path) -> dict[Path, Order]:
    """The folders whose sessions have ended, and their jobs; folders without any are removed, and those whose
    jobs cannot be told are left for who can.
    """
    found: dict[Path, Order] = {}
    try:
        folders = sorted(root.iterdir())
    except OSError:  # there is none, or it cannot be read
        return found
    for folder in folders:
        lock = take_lock(folder)
        if lock is None:
            continue
        order = read_order(folder)
        lock.close()
        if order is not None and order.jobs:
            found[folder] = order
        elif order is not None and not _is_fresh(folder):
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _is_fresh(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime < FRESH_SECONDS
    except OSError:
        return True
