"""Runs jobs one after the other on a backend that it starts, watches and starts again. No bpy here.

`tick` never waits; who has no event loop calls `pump_until_done`.
"""

import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

from ..faults import Fault
from ..process.backend_process import BackendProcess
from ..process.growth import Growth
from ..protocol import Cancel, Cancelled, CutOut, Decoded, Failed, Hello, Making, Progress, ProtocolError
from .cut_out import Asked, answered
from .job import Change, Job, JobQueue, fail, new_job
from .launch import CommandLaunch, Launch

log = logging.getLogger(__name__)

CANCEL_SECONDS = 10.0  # a backend that does not notice a cancel for so long is ended
SILENT_SECONDS = 120.0  # heartbeats come every two seconds, whatever it computes
PUMP_SECONDS = 0.02


class JobRunner:
    """A queue of jobs and at most one backend process."""

    def __init__(
        self, launch: Launch | CommandLaunch | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self.queue = JobQueue()
        self.hello: Hello | None = None  # of the latest backend
        self.cut_out: Asked | None = None  # the latest one
        self.idle_seconds = 0.0  # after which a backend without a job ends; 0: never
        self.told = ""  # why there is no backend, where nobody has asked for its end
        self.is_blocked = False  # whether none may start, for its files are being changed
        self.unstarted = ""  # why no backend could be started, until it is to be tried again
        self.change: Change = lambda request: request  # of each as it is sent
        self._is_stopped = False  # whether what waits is to wait for the next request
        self._clock = clock
        self._worked = clock()  # when there was last a job
        self._heard = clock()  # when the running one last told how far it is
        self._growth = Growth()
        self._launch = launch
        self._started_by: Launch | CommandLaunch | None = None  # what the process runs
        self._process: BackendProcess | None = None
        self._ending: list[threading.Thread] = []  # each waits for the end of a process
        self._cancel_since: float | None = None

    # ---- what callers ask

    def use(self, launch: Launch | CommandLaunch) -> None:
        """Starts backends in this way from now on; one that was started differently ends once it is idle."""
        self._launch = launch
        if launch != self._started_by and self.queue.running is None:
            self.stop_process()

    def submit(self, request: Making, times: Mapping[str, float] = MappingProxyType({})) -> str:
        """Puts a request behind the others; the name that its job gets. times: as `new_job` takes them."""
        name = uuid.uuid4().hex[:12]
        self.resume()
        self.queue = self.queue.add(new_job(dataclasses.replace(request, job=name), times))
        return name

    def resume(self) -> None:
        """Lets what waits start, after a stop and where no backend could be started."""
        self._is_stopped, self.unstarted = False, ""

    def ask_cut_out(self, request: CutOut, key: Hashable) -> None:
        """Asks for a cut-out beside the jobs; it takes the place of the former one. key: of whoever asks."""
        former = self.cut_out
        if former is not None and not former.ended and self._process is not None:
            self._process.send(Cancel(former.job))
        request = dataclasses.replace(request, job=uuid.uuid4().hex[:12])
        self.cut_out = Asked(request.job, key)
        try:
            self._backend().send(request)
        except (Fault, ProtocolError) as error:
            self.cut_out = answered(self.cut_out, Failed(request.job, "bad_input", str(error)))

    def move(self, name: str, by: int) -> None:
        """Lets a waiting job run so many places later, or earlier."""
        self.queue = self.queue.moved(name, by)

    def cancel(self, name: str) -> None:
        """Gives a job up; the running one is answered within a second, or ends with its process."""
        self.queue, running = self.queue.cancel(name)
        if not running:
            return
        if self._process is not None:
            self._process.send(Cancel(name))
        if self._process is None or self.is_starting:  # nobody has begun with it
            self.queue = self.queue.apply(Cancelled(name))
        else:
            self._cancel_since = self._cancel_since or time.monotonic()

    @property
    def is_alive(self) -> bool:
        """Whether there is a backend."""
        return self._process is not None

    @property
    def held(self) -> str:
        """Why nothing starts of what waits, "" where it does."""
        if self.is_blocked:
            return "Waits while the backend is installed or removed"
        if self.unstarted and self.queue.waiting:
            return "Waits: the backend did not start"
        return "Stopped: goes on with the next job" if self._is_stopped and self.queue.waiting else ""

    @property
    def is_starting(self) -> bool:
        """Whether there is one that has not said hello yet."""
        return self._process is not None and self._process.hello is None

    @property
    def unheard_seconds(self) -> float:
        """How long ago the running job last told how far it is; 0 before its first word."""
        job = self.queue.running
        return self._clock() - self._heard if job is not None and job.stage else 0.0

    @property
    def memory_bytes(self) -> int:
        """What the backend takes."""
        return self._process.memory_bytes if self._process is not None else 0

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of the backend's log."""
        return self._process.log_tail(lines) if self._process is not None else ""

    # ---- what makes it go

    def tick(self) -> tuple[Job, ...]:
        """Takes what has come, starts what can start; gives back the jobs that ended, and forgets them."""
        if self._process is not None:
            for message in self._process.poll():
                if isinstance(message, Progress):
                    self._heard = self._clock()
                if isinstance(message, Failed) and message.kind == "internal":
                    told = f"{message.message}\n{self._process.log_tail()}"  # as of a backend that is gone
                    message = dataclasses.replace(message, message=told)
                self.queue = self.queue.apply(message)
                self.cut_out = answered(self.cut_out, message)
            self.hello = self._process.hello or self.hello
            self._watch(self._process)
        if self._process is not None and self.queue.running is None:
            self._renew(self._process)
        if self._started_by != self._launch and self._is_idle:
            self.stop_process()
        if not self.held and (self._started_by == self._launch or self._process is None):
            self._start_next()
        ended = self.queue.ended
        for job in ended:
            self.queue = self.queue.without(job.id)
        if self.queue.running is None:
            self._cancel_since = None
        if self._is_idle:
            self._end_idle()
        else:
            self._worked = self._clock()
        return ended

    @property
    def _is_idle(self) -> bool:
        return self.queue.running is None and (self.cut_out is None or self.cut_out.ended)

    def pump_until_done(
        self, name: str, on_progress: Callable[[Job], None] = lambda job: None, timeout: float | None = None
    ) -> Job:
        """Ticks until the job has ended, and gives it back. After `timeout` seconds it is cancelled; it fails
        where no backend can be started, for nobody is there to try that again."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.resume()
        while True:
            for ended in self.tick():
                if ended.id == name:
                    return ended
            job = self.queue.find(name)
            assert job is not None, "a job ends only once"
            if self.unstarted:
                self.queue = self.queue.without(name)
                return fail(job, "backend_died", self.unstarted)
            on_progress(job)
            if deadline is not None and time.monotonic() > deadline:
                self.cancel(name)
                deadline = None
            time.sleep(PUMP_SECONDS)

    def close(self) -> None:
        """Forgets all jobs and ends the backend; waits for that, two seconds at most."""
        self.queue = JobQueue()
        if self._process is not None:
            self._process.stop(grace=1.0)
            self._process = None

    def stop(self) -> None:
        """Ends the backend, and lets what waits wait for the next request."""
        self._is_stopped = True
        self.stop_process()

    def stop_process(self) -> None:
        """Ends the backend, if there is one, without waiting for it."""
        if self._process is not None:
            self._end(self._process)
            self._process = None
            self._tell_lost("The backend was stopped.")

    def wait_for_end(self, seconds: float) -> None:
        """Waits until all that was stopped is gone, for so long at most. For a thread of its own."""
        deadline = time.monotonic() + seconds
        for thread in list(self._ending):
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _end(self, process: BackendProcess) -> None:
        thread = threading.Thread(target=process.stop, name="stop", daemon=True)
        thread.start()
        self._ending = [*(one for one in self._ending if one.is_alive()), thread]

    def _end_idle(self) -> None:
        """Frees the memory of a backend that has had nothing to do for long; the next job starts another."""
        idle = self._clock() - self._worked
        if self._process is not None and self.idle_seconds and idle > self.idle_seconds:
            log.info("The backend had nothing to do for %.0f seconds and ends.", idle)
            self.stop_process()
            self.told = "Ended after some idle time; starts when it is needed"

    def _renew(self, process: BackendProcess) -> None:
        """Between two jobs: ends a backend that has met a fault of its own, after which what it holds may be
        broken, or whose memory its work does not explain; another one follows."""
        ended = self.queue.ended
        for job in ended:
            if job.state == "finished":
                self._growth = self._growth.after(_kind_of(job), process.memory_bytes)
        if broke := [job.id for job in ended if job.failure == "internal"]:
            log.warning("The backend met a fault of its own in %s and is started anew.", broke[0])
            self.stop_process()
            self.told = "Ended after a fault of its own; starts when it is needed"
        elif ended and self._growth.is_beyond(process.memory_bytes):
            log.warning("The backend has grown to %d bytes and is started anew.", process.memory_bytes)
            self.stop_process()
            self.told = "Ended as its memory had grown; starts when it is needed"

    def _start_next(self) -> None:
        self.queue, job = self.queue.start_next(self.change)
        if job is None:
            return
        self._cancel_since = None  # of the job before, which has ended; nobody has given up this one
        try:
            process = self._backend()
        except Fault as error:
            return self._hold(str(error))
        except Exception as error:
            log.exception("no backend could be started")
            return self._hold(f"The backend could not be started ({error}).")
        try:
            process.send(job.request)
        except Fault as error:
            self._lose(process, str(error))
        except ProtocolError as error:
            self.queue = self.queue.apply(Failed(job.id, "protocol", str(error)))
        except Exception as error:
            log.exception("%s could not be sent to the backend", job.id)
            self.queue = self.queue.apply(Failed(job.id, "internal", f"The job could not be sent ({error})."))

    def _hold(self, reason: str) -> None:
        """Lets all jobs wait: that no backend could be started is no fault of theirs."""
        log.warning("No backend could be started: %s", reason)
        self.queue, self.unstarted = self.queue.put_back(), reason

    def _backend(self) -> BackendProcess:
        """The one there is, else a started one. Fault where it cannot be started."""
        if self._process is None:
            if self.is_blocked:
                raise Fault("The backend is being installed or removed: wait until that has ended.")
            if self._launch is None:
                raise Fault("The backend is not installed: install it in the add-on's preferences.")
            self._process, self._started_by = self._launch.start(), self._launch
            self._growth, self.told = Growth(), ""
        return self._process

    def _tell_lost(self, reason: str, once_more: bool = False) -> None:
        """Nobody answers any more. once_more: as queues have it."""
        self.queue = self.queue.backend_died(reason, once_more)
        if self.cut_out is not None:
            self.cut_out = answered(self.cut_out, Failed(self.cut_out.job, "backend_died", reason))

    def _watch(self, process: BackendProcess) -> None:
        """Notices a backend that is gone, hangs, or does not hear a cancel."""
        now = time.monotonic()
        if not process.alive:
            # One that was alive before may have died while it was idle, which is not the job's fault.
            self._lose(process, process.exit_reason(), once_more=process.hello is not None)
        elif process.hello is not None and process.seconds_since_heartbeat > SILENT_SECONDS:
            reason = f"The backend gave no sign of life for {SILENT_SECONDS:.0f} seconds and was stopped."
            self._lose(process, f"{reason}\n{process.log_tail()}")
        elif self._cancel_since is not None and now - self._cancel_since > CANCEL_SECONDS:
            self._lose(process, "The backend did not stop in time and was ended.")

    def _lose(self, process: BackendProcess, reason: str, once_more: bool = False) -> None:
        log.warning("Lost the backend: %s", reason)
        process.kill()
        self._end(process)
        self._process = None
        self._cancel_since = None
        if process.hello is None and self.queue.running is not None:
            self._hold(reason)
        self._tell_lost(reason, once_more)


def _kind_of(job: Job) -> Hashable:
    """What of a job decides how much memory stays taken after it."""
    request = job.request
    where = (request.model, request.device, request.precision, request.engine)
    made = (request.formats, request.finishing) if isinstance(request, Decoded) else ()
    return (type(request), *where, *made)
