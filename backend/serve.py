"""`python -m backend`: takes jobs from stdin, one at a time, and answers on stdout; stderr is the log.

Exactly one final message ends every job, whatever happens in it; the end of stdin ends the process.
"""

import argparse
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy

from backend.background.choice import seen_by_model
from backend.errors import MissingModel, NotEnoughMemory, UserError
from backend.files import lacks_room
from backend.machine.memory import is_out_of_memory, memory_bytes
from backend.server.cancellation import Cancelled as JobCancelled
from backend.server.channel import Channel, take_pipes
from backend.server.interface import Engine, OnProgress, OnResult
from backend.server.interruption import Interruption
from backend.server.request_queue import PendingJob, RequestQueue
from blender_trellis.protocol import (
    Array,
    Cancelled,
    CutOut,
    Failed,
    FailureKind,
    Final,
    Finished,
    Heartbeat,
    Loaded,
    LoadModel,
    Progress,
    Result,
    ResultKind,
    Scalar,
    Stage,
)

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
SENTENCE_LENGTH = 4000
OUT_OF_MEMORY = (
    "The memory was not enough; close other programs, choose another device, or ask for fewer formats."
)
NO_ROOM = "The disk is full, or temporary files cannot be written: free some space there, then try again."
INTERNAL = (
    "The backend met a fault of its own ({}); please report it together with the log, which has the details."
)


class Server:
    """Runs the jobs of `requests` on one engine and tells `channel` of them."""

    def __init__(
        self,
        engine: Engine,
        requests: RequestQueue,
        channel: Channel,
        interruption: Interruption | None = None,
    ):
        self._engine = engine
        self._interruption = interruption or Interruption()
        self._requests = requests
        self._channel = channel
        self._began = time.monotonic()
        self._job: PendingJob | None = None  # the running one, or one of them

    def run(self, lanes: int = 1) -> int:
        """Say hello, then run jobs, `lanes` at a time, until no more will come; the exit code."""
        self._channel.send(self._engine.hello())
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        further = [threading.Thread(target=self._work, name=f"lane {lane}") for lane in range(1, lanes)]
        further.append(threading.Thread(target=self._cut_out, name="cut-outs", daemon=True))
        for thread in further:
            thread.start()
        self._work()
        for thread in further:
            thread.join()
        return self._requests.exit_code

    def _work(self) -> None:
        while pending := self._requests.next():
            self._job, job = pending, pending.job
            assert not isinstance(job, CutOut), "they wait in a line of their own"
            log.info("%s: %s of the model %s begins", pending.name, type(job).__name__, job.model)
            final = self._final_message(pending)
            log.info("%s: %s", pending.name, type(final).__name__)
            self._job = None
            if self._requests.done(pending):
                self._tell_memory()  # as it is after the job, which the add-on judges its growth by
                self._channel.send(final)

    def _cut_out(self) -> None:
        """Answers what asks for cut-outs, also while a job runs."""
        while pending := self._requests.next_cut_out():
            final = self._final_message(pending)
            if self._requests.done(pending):
                self._channel.send(final)

    def _beat(self) -> None:
        while not self._requests.ended.wait(HEARTBEAT_SECONDS):
            self._tell_memory()
            job = self._job
            if job is not None and job.cancelled.is_set():
                self._interruption.ask()  # again, where a library has swallowed the first one
                self._requests.leave_if_stuck(job)

    def _tell_memory(self) -> None:
        job = self._job
        name = job.name if job is not None and job.answered is None else ""
        self._channel.send(Heartbeat(_since(self._began), memory_bytes(), name))

    def _final_message(self, pending: PendingJob) -> Final:
        began = time.monotonic()
        try:
            return self._do(pending, began)
        except JobCancelled:
            return Cancelled(pending.name, _since(began))
        except NotEnoughMemory as error:
            return replace(_failed(pending, "out_of_memory", str(error)), remedy=error.remedy)
        except MissingModel as error:
            return _failed(pending, "missing_model", str(error))
        except UserError as error:
            return _failed(pending, "bad_input", str(error))
        except Exception as error:  # the one place where a fault of ours becomes a message
            log.exception("The job %s failed.", pending.name)
            if is_out_of_memory(error):
                return _failed(pending, "out_of_memory", OUT_OF_MEMORY)
            if lacks_room(error):
                return _failed(pending, "bad_input", NO_ROOM)
            return _failed(pending, "internal", INTERNAL.format(type(error).__name__))

    def _do(self, pending: PendingJob, began: float) -> Loaded | Finished:
        job = pending.job
        self._check(pending)
        if isinstance(job, CutOut):
            self._on_result(pending)("cut_out", {}, {"pixels": seen_by_model(job)})
            return Finished(job.job, _since(began), 0, "")
        if isinstance(job, LoadModel):
            loaded = self._engine.load(job.model, job.device, job.precision, job.engine)
            self._check(pending)
            where = (loaded.model, loaded.device, loaded.precision, loaded.model_hash)
            return Loaded(job.job, *where, _since(began))
        on_progress, on_result = self._on_progress(pending, began), self._on_result(pending)
        try:
            made = self._engine.run(job, on_progress, on_result)
        finally:
            self._interruption.forbid()
        return Finished(job.job, _since(began), made.seed, made.model, made.model_hash, made.picture_hash)

    def _on_progress(self, pending: PendingJob, began: float) -> OnProgress:
        told: tuple[Stage, int, int] | None = None

        def on_progress(stage: Stage, step: int, steps: int) -> None:
            nonlocal told
            self._interruption.forbid()  # a message is sent whole
            self._check(pending)
            if told is None or told[0] != stage:
                log.info("%s: %s", pending.name, stage)
            if told != (stage, step, steps):
                self._channel.send(Progress(pending.name, stage, step, steps, _since(began)))
            told = stage, step, steps
            self._interruption.allow(stage, pending.cancelled.is_set)

        return on_progress

    def _on_result(self, pending: PendingJob) -> OnResult:
        def on_result(
            kind: ResultKind, info: Mapping[str, Scalar], arrays: Mapping[str, numpy.ndarray]
        ) -> None:
            self._interruption.forbid()
            self._check(pending)
            packed = {name: _array(values) for name, values in arrays.items()}
            self._check(pending)  # which may have been answered in the meantime
            self._channel.send(Result(pending.name, kind, info, packed))

        return on_result

    def _check(self, pending: PendingJob) -> None:
        if pending.cancelled.is_set() or self._channel.closed.is_set():
            raise JobCancelled


def _failed(pending: PendingJob, kind: FailureKind, sentence: str) -> Failed:
    return Failed(pending.name, kind, sentence[:SENTENCE_LENGTH])


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


_DTYPES = {"uint8": "u1", "int32": "i4", "float32": "f4"}


def _array(values: numpy.ndarray) -> Array:
    little = numpy.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return Array(_DTYPES[values.dtype.name], values.shape, little.tobytes())


def main(argv: list[str]) -> int:
    """Serve until stdin ends: 0, or 2 after a stream that is no protocol."""
    argparse.ArgumentParser(prog="python -m backend serve", description=__doc__).parse_args(argv)
    interruption = Interruption()
    interruption.install()
    requests, channel = open_pipes(interruption.ask)
    from backend.trellis.engine import TrellisEngine  # imports torch, which takes seconds

    return Server(TrellisEngine(), requests, channel, interruption).run()


def open_pipes(interrupt: Callable[[], None] = lambda: None) -> tuple[RequestQueue, Channel]:
    """Guard the descriptors, log to stderr, and listen: the end of stdin is heard from now on."""
    stdin, stdout = take_pipes()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    channel = Channel(stdout)
    requests = RequestQueue(stdin, channel.send, interrupt)
    requests.start()
    return requests, channel
