"""The objects of a batch, several at a time, by a backend that runs each job where there is room for it."""

import dataclasses
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from ..faults import Fault
from ..jobs.job import Job, apply, fail, new_job
from ..jobs.launch import Launch
from ..process.backend_process import BackendProcess
from ..protocol import Cancel, Making, ProtocolError, arrays_of
from .outcomes import INTERRUPTED, NOT_BEGUN, Outcome, told
from .plan import name_for
from .requests import Asked
from .run import Maker, explain, with_settings
from .work import Work

MOST = 32  # jobs that are handed over and not ended
MOST_BYTES = 512 << 20  # of them; the backend refuses more than twice as much, the next one included
PAUSE_SECONDS = 0.02


class Crew:
    """Hands jobs to one backend as they come, and keeps each until it has ended."""

    def __init__(self, launch: Launch):
        self._launch = launch
        self._process: BackendProcess | None = None
        self._jobs: dict[str, Job] = {}
        self._was_there = False  # whether a backend has ever said hello

    @property
    def has_room(self) -> bool:
        """Whether another job may be handed over."""
        arrays = (array for job in self._jobs.values() for array in arrays_of(job.request).values())
        held = sum(memoryview(array.data).nbytes for array in arrays)
        return len(self._jobs) < MOST and held < MOST_BYTES

    def submit(self, request: Making) -> str:
        """Hands a job over; its name. Fault where there is no backend, or it does not take the job."""
        if self._process is None:
            self._process = self._launch.start()
        name = uuid.uuid4().hex[:12]
        job = new_job(dataclasses.replace(request, job=name))
        try:
            self._process.send(job.request)
        except ProtocolError as error:
            job = fail(job, "protocol", str(error))
        self._jobs[name] = job
        return name

    def tick(self) -> list[Job]:
        """Takes what has come; the jobs that ended, which are forgotten.

        Raises Fault where the backend ends before it has ever said hello: no other job would fare better.
        """
        if self._process is not None:
            for message in self._process.poll():
                name = getattr(message, "job", "")
                if name in self._jobs:
                    self._jobs[name] = apply(self._jobs[name], message)
            self._was_there = self._was_there or self._process.hello is not None
            if not self._process.alive:
                self._lose(self._process.exit_reason())
        ended = [job for job in self._jobs.values() if job.ended]
        for job in ended:
            del self._jobs[job.id]
        return ended

    def give_back_waiting(self) -> None:
        """Cancels what no worker has begun with."""
        for job in self._jobs.values():
            if job.state == "queued" and not job.cancelling and self._process is not None:
                self._jobs[job.id] = replace(job, cancelling=True)
                self._process.send(Cancel(job.id))

    def close(self) -> None:
        """Ends the backend and with it all jobs."""
        if self._process is not None:
            self._process.stop(grace=5.0)
            self._process = None

    def _lose(self, reason: str) -> None:
        assert self._process is not None, "only a backend that was there is lost"
        self._process.stop()
        self._process = None
        if not self._was_there:
            raise Fault(reason)
        self._jobs = {name: self._after_loss(job, reason) for name, job in self._jobs.items()}

    def _after_loss(self, job: Job, reason: str) -> Job:
        """A job of a backend that was lost: what had not begun goes to another one, once."""
        if job.ended:
            return job
        if job.cancelling:
            return replace(job, state="cancelled")
        if job.state != "queued" or job.sent_again:
            return fail(job, "backend_died", reason)
        try:
            if self._process is None:
                self._process = self._launch.start()
            self._process.send(job.request)
        except Fault as fault:
            return fail(job, "backend_died", str(fault))
        return replace(job, sent_again=True)


@dataclass(frozen=True)
class _Begun:
    """An object whose job was handed over; `work` has the name of its files."""

    work: Work
    name: str  # as others call it that are made of it
    outcome: Outcome
    asked: Asked


class AtOnce:
    """Makes every object, as many at a time as the crew takes.

    Each outcome is told once, as soon as there is one, to the maker's report and to `stream`. What is made of
    another object waits for that one.
    """

    def __init__(
        self, works: Sequence[Work], output: Path, seed: int, maker: Maker, crew: Crew, stream: TextIO
    ):
        self._works = works
        self._waiting = list(works)
        self._count = len(works)
        self._begun: dict[str, _Begun] = {}
        self._outcomes = {
            work.name: Outcome(
                name_for(output, work.name), work.picture, seed=seed if work.seed is None else work.seed
            )
            for work in works
        }
        self._ended: set[str] = set()
        self._maker, self._crew, self._stream = maker, crew, stream

    def run(self, is_stopping: Callable[[], bool] = lambda: False) -> list[Outcome]:
        """The outcomes in the order of the works.

        Once `is_stopping`, objects that are being made are finished and no other is begun.
        """
        try:
            while self._waiting or self._begun:
                if is_stopping():
                    self._waiting.clear()
                    self._crew.give_back_waiting()
                if not self._begin_next():
                    self._take_ended()
                    time.sleep(PAUSE_SECONDS)
        except KeyboardInterrupt:
            for name, one in [(one.name, one) for one in self._begun.values()]:
                one.outcome.error = INTERRUPTED
                self._end(name, one.outcome)
        for work in self._works:
            if work.name not in self._ended:
                outcome = self._outcomes[work.name]
                if before := self._maker.made(replace(work, name=outcome.name)):
                    self._outcomes[work.name] = before
                else:
                    outcome.error = NOT_BEGUN
        return list(self._outcomes.values())

    def _begin_next(self) -> bool:
        """Hands the next object over, if there is one and room for it."""
        unmade = {one.name for one in self._begun.values()} | {work.name for work in self._waiting}
        work = next((work for work in self._waiting if work.of not in unmade), None)
        if work is None or not self._crew.has_room:
            return False
        self._waiting.remove(work)
        name, outcome = work.name, self._outcomes[work.name]
        work = replace(work, name=outcome.name)
        if before := self._maker.made(work):
            self._outcomes[name] = before
            self._ended.add(name)
            return True
        try:
            asked = self._maker.ask(work, outcome)
            job = self._crew.submit(with_settings(asked.request))
        except Exception as error:  # noqa: BLE001 (whatever is wrong with one, the others are still to be made)
            self._fail(outcome, error)
            self._end(name, outcome)
            return True
        self._begun[job] = _Begun(work, name, outcome, asked)
        return True

    def _take_ended(self) -> None:
        """Writes the files of what the crew has ended."""
        for job in self._crew.tick():
            one = self._begun.pop(job.id)
            if job.state == "cancelled":
                continue  # it was given back before it began
            began = time.monotonic()
            try:
                self._maker.finish(one.work, one.outcome, one.asked, job)
            except Exception as error:  # noqa: BLE001 (as above)
                self._fail(one.outcome, error)
            one.outcome.seconds = round(job.seconds + time.monotonic() - began, 2)
            self._end(one.name, one.outcome)

    def _fail(self, outcome: Outcome, error: Exception) -> None:
        outcome.error, _, outcome.log = explain(error).partition("\n")

    def _end(self, name: str, outcome: Outcome) -> None:
        self._ended.add(name)
        self._maker.note(outcome)
        self._stream.write(f"[{len(self._ended)}/{self._count}] {told(outcome)} ({outcome.seconds:.1f} s)\n")
        self._stream.flush()
