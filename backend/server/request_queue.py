"""The requests that come in, read by a thread of their own so that a cancel is heard while a job runs.

Every admitted job is pending until its final message is sent. Cut-outs need no model and wait in a line of
their own.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from blender_trellis.protocol import (
    Cancel,
    Cancelled,
    CutOut,
    Failed,
    FromBackend,
    LoadModel,
    Making,
    Message,
    ProtocolError,
    Reader,
    Shutdown,
    arrays_of,
)

log = logging.getLogger(__name__)

GRACE_SECONDS = 1.0  # for the running job to notice that nobody waits for it
ANSWER_SECONDS = 0.25  # after which a cancel is answered though the job has not noticed it yet
STUCK_SECONDS = 30.0  # after which a job that was given up must no longer keep the next one waiting
UNREADABLE_FRAMES = 16  # in a row, after which the stream is taken to be no protocol at all
WAITING_JOBS = 256
WAITING_BYTES = 1 << 30
NAME_LENGTH = 200

Job = LoadModel | Making | CutOut


@dataclass(eq=False)
class PendingJob:
    """A job whose final message has not been sent yet."""

    job: Job
    cancelled: threading.Event = field(default_factory=threading.Event)
    running: bool = False
    answered: float | None = None  # when it got its final message, if that was before it had ended

    @property
    def name(self) -> str:
        """The name that messages speak of it by."""
        return self.job.job

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        return sum(memoryview(array.data).nbytes for array in arrays_of(self.job).values())


class RequestQueue:
    """Reads `stream`; `send` answers what needs no engine, `interrupt` hurries a running job that
    was cancelled. `exit_code`: what the process should end with."""

    def __init__(
        self,
        stream: BinaryIO,
        send: Callable[[FromBackend], None],
        interrupt: Callable[[], None] = lambda: None,
    ):
        self._interrupt = interrupt
        self._reader = Reader(stream)
        self._send = send
        self._lock = threading.Lock()
        self._pending: dict[str, PendingJob] = {}
        self._waiting: queue.Queue[PendingJob | None] = queue.Queue()  # None: no more will come
        self._cut_outs: queue.Queue[PendingJob | None] = queue.Queue()
        self.ended = threading.Event()
        self.exit_code = 0

    def start(self) -> None:
        """Listen from now on."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()

    def next(self) -> PendingJob | None:
        """Wait for the next job to run; None when no more will come."""
        return self._next(self._waiting)

    def next_cut_out(self) -> PendingJob | None:
        """Wait for the next cut-out that is asked for; None when no more will come."""
        return self._next(self._cut_outs)

    def _next(self, waiting: "queue.Queue[PendingJob | None]") -> PendingJob | None:
        while (pending := waiting.get()) is not None:
            with self._lock:
                if self._pending.get(pending.name) is pending:  # else it was cancelled while it waited
                    pending.running = True
                    return pending
        waiting.put(None)  # for who else waits
        return None

    def done(self, pending: PendingJob) -> bool:
        """The job has ended and its name is free again. Whether it has still to get its final message."""
        with self._lock:
            if pending.answered is None:
                del self._pending[pending.name]
            return pending.answered is None

    def leave_if_stuck(self, running: PendingJob) -> None:
        """Ends the process where a job that was given up long ago keeps another one waiting."""
        given_up = running.answered
        with self._lock:
            waits = any(not isinstance(one.job, CutOut) and not one.running for one in self._pending.values())
        if given_up is None or time.monotonic() - given_up < STUCK_SECONDS or not waits:
            return
        log.error("%s was given up and does not end; leaving it.", running.name)
        logging.shutdown()
        os._exit(1)

    def _listen(self) -> None:
        try:
            self._read()
        except Exception:  # nobody would be heard any more; the add-on starts another backend
            log.exception("The requests cannot be read any more; ending.")
            logging.shutdown()
            os._exit(1)

    def _read(self) -> None:
        unreadable = 0
        while True:
            try:
                message = self._reader.read()
                unreadable = 0
            except ProtocolError as error:
                unreadable += 1
                self._refuse(error)
                if not error.recoverable or unreadable >= UNREADABLE_FRAMES:
                    log.error("Stopping after %d unreadable frames in a row.", unreadable)
                    return self._end(exit_code=2)
                continue
            if message is None or isinstance(message, Shutdown):
                return self._end(exit_code=0)
            self._accept(message)

    def _accept(self, message: Message) -> None:
        if isinstance(message, Cancel):
            self._cancel(message.job)
        elif isinstance(message, Job):
            self._admit(PendingJob(message))
        else:
            self._refuse(ProtocolError(f"{type(message).__name__} is no message for a backend."))

    def _cancel(self, name: str) -> None:
        with self._lock:
            pending = self._pending.get(name)
            if pending is None:
                return
            pending.cancelled.set()
            if not pending.running:
                del self._pending[name]
        if not pending.running:
            return self._send(Cancelled(name))
        self._interrupt()  # then its own thread sends the final message
        late = threading.Timer(ANSWER_SECONDS, self._answer, (pending,))
        late.daemon = True
        late.start()

    def _answer(self, pending: PendingJob) -> None:
        """The final message of a job that was cancelled and is still within one call of a library."""
        with self._lock:
            if self._pending.get(pending.name) is not pending:
                return
            del self._pending[pending.name]
            pending.answered = time.monotonic()
        log.info("%s: Cancelled, and ends with the call that it is in", pending.name)
        self._send(Cancelled(pending.name))

    def _admit(self, pending: PendingJob) -> None:
        with self._lock:
            fault = self._fault(pending)
            if not fault:
                self._pending[pending.name] = pending
                waiting = self._cut_outs if isinstance(pending.job, CutOut) else self._waiting
                waiting.put(pending)
        if fault:
            self._refuse(ProtocolError(fault, job=pending.name))

    def _fault(self, pending: PendingJob) -> str:
        if not 0 < len(pending.name) <= NAME_LENGTH:
            return f"A job must have a name of 1 to {NAME_LENGTH} letters."
        if pending.name in self._pending:
            return "A job of this name is still waiting or running; give each its own name."
        waiting = sum(other.size for other in self._pending.values())
        if len(self._pending) >= WAITING_JOBS or waiting + pending.size > WAITING_BYTES:
            return "Too many jobs are waiting, or too large ones; send this one again when others have ended."
        return ""

    def _refuse(self, error: ProtocolError) -> None:
        """Answer a frame that cannot be followed; a job it names that is pending keeps its final message."""
        log.warning("Refused a frame: %s", error)
        with self._lock:
            nobody = error.job in self._pending or len(error.job) > NAME_LENGTH
        self._send(Failed("" if nobody else error.job, "protocol", str(error)))

    def _end(self, exit_code: int) -> None:
        """No one will ask for more: give up all jobs, and leave hard if the running one does not notice."""
        self.exit_code = exit_code
        self.ended.set()
        with self._lock:  # those that wait first, or the next would begin as the running one ends
            names = sorted(self._pending, key=lambda name: self._pending[name].running)
            runs = any(one.running for one in self._pending.values())
        for name in names:
            self._cancel(name)
        self._waiting.put(None)
        self._cut_outs.put(None)
        time.sleep(GRACE_SECONDS)
        if runs:  # else the process is only slow to end
            log.error("The running job did not stop within %g seconds; leaving it.", GRACE_SECONDS)
        logging.shutdown()
        os._exit(exit_code)
