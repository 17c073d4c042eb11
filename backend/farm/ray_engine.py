"""An engine whose jobs run on the devices of a Ray cluster.

Ray places one worker on each device, starts those again that die, and carries requests and answers. A job
whose worker dies goes to the next worker that is free. A worker that meets a fault of its own is started
anew, for after that its device may answer nothing any more; its job is tried once more.
"""

import contextlib
import logging
import os
import platform
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from backend.errors import UserError
from backend.farm.worker import Answer, Worker
from backend.files import lacks_room
from backend.server.cancellation import Cancelled
from backend.server.interface import FinishedInfo, LoadedInfo, OnProgress, OnResult
from backend.version import VERSION
from blender_trellis.protocol import PROTOCOL_VERSION, Device, Hello, Making

log = logging.getLogger(__name__)

TRIES = 4  # of a job, each on a worker that died of it or with it
RESTARTS = 4  # by Ray, of a worker that never got ready; of others there is no end
POLL_SECONDS = 0.5
RESTART_SECONDS = 1.0  # between two questions whether a worker has started again
REACH_SECONDS = 10.0
ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = ("**/__pycache__", "goldens", "training", "evaluation")
PASSED_ON = ("TRELLIS_MODELS", "TRELLIS_U2NET", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@contextlib.contextmanager
def cluster(address: str) -> Iterator[None]:
    """Joins a cluster: "local" starts one on this machine, "auto" takes the one that runs here.

    Workers elsewhere get this code from here; packages and models have to be where they run. UserError where
    there is no such cluster.
    """
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        _reach(address)
        if address == "local":  # where compiled loops of numba are kept with the code from run to run
            environment: dict[str, Any] = {"env_vars": variables | {"PYTHONPATH": str(ROOT)}}
            ray.init(address=address, runtime_env=environment, include_dashboard=False)
        else:
            modules = [str(ROOT / "backend"), str(ROOT / "blender_trellis")]
            environment = {"env_vars": variables, "py_modules": modules, "excludes": list(LEFT_OUT)}
            ray.init(address=address, runtime_env=environment)
    except (RayError, ConnectionError, OSError, OverflowError, RuntimeError, ValueError) as error:
        raise UserError(
            f'No Ray cluster answers at "{address}" ({_first_line(error)}): start one by ray start --head, '
            "or give the address local."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """OSError where nothing listens at host:port, for which Ray itself waits minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()


@dataclass(frozen=True)
class _Seat:
    """A worker and what it asks Ray for. ready: whether it took jobs before."""

    worker: Any
    resources: dict[str, float]
    ready: bool = False


class RayEngine:
    """As many jobs run at a time as there are workers; more callers wait."""

    def __init__(self, worker: type[Worker] = Worker) -> None:
        """Within `cluster`; `worker` is started on every device. UserError where there is none."""
        self._worker = worker
        self._closing = threading.Event()
        self._lost: list[str] = []  # why each worker that will not start again is gone
        self._idle: queue.SimpleQueue[_Seat] = queue.SimpleQueue()
        found = devices(ray.nodes())
        if not found:
            raise UserError("The Ray cluster has neither processors nor graphics cards: add a machine to it.")
        self._lanes = len(found)
        for resources in found:
            self._start(resources)

    @property
    def lanes(self) -> int:
        """How many jobs can run at a time."""
        return self._lanes

    def close(self) -> None:
        """Before the cluster is left: whoever asks Ray for anything after that gets a cluster of his own."""
        self._closing.set()

    def hello(self) -> Hello:
        """Versions, and the workers as devices; torch runs elsewhere."""
        found = tuple(Device(f"ray:{number}", "Ray worker") for number in range(self.lanes))
        return Hello(PROTOCOL_VERSION, VERSION, platform.python_version(), "", devices=found)

    def load(self, model: str, device: str, precision: str, engine: str) -> LoadedInfo:
        """Workers load what their jobs need."""
        raise UserError("Models are not loaded ahead on a cluster: send a job.")

    def run(self, request: Making, on_progress: OnProgress, on_result: OnResult) -> FinishedInfo:
        """Makes one object on the next free worker. Results are handed on once all of them are there."""
        met_fault = False
        for _ in range(TRIES):
            try:
                answer = self._ask(request, on_progress)
            except RayActorError as error:
                log.warning("%s: its worker died (%s)", request.job, _first_line(error))
                continue
            except RayTaskError as error:
                if met_fault or not _is_internal(error):
                    raise
                met_fault = True
                log.warning("%s: its worker met a fault of its own: %s", request.job, error)
                continue
            if answer.refused is not None:
                raise answer.refused
            for part in answer.parts:
                on_result(part.kind, part.info, part.arrays)
            assert answer.finished is not None, "what is not refused is finished"
            return answer.finished
        raise UserError(
            f"{TRIES} workers died while they made this: see Ray's log, or give the workers more memory."
        )

    def _ask(self, request: Making, on_progress: OnProgress) -> Answer:
        seat = self._next_idle(on_progress)
        worker = seat.worker
        try:
            coming = worker.make.remote(request)
            while not ray.wait([coming], timeout=POLL_SECONDS)[0]:
                on_progress("load", 1, 1)  # raises where the job was cancelled
            return ray.get(coming)
        except Cancelled:
            ray.kill(worker, no_restart=False)  # it is at work on what nobody wants any more
            raise
        except RayTaskError as error:
            if _is_internal(error):
                ray.kill(worker, no_restart=False)
            raise
        finally:
            self._make_idle(seat)

    def _next_idle(self, on_progress: OnProgress) -> _Seat:
        while True:
            try:
                return self._idle.get(timeout=POLL_SECONDS)
            except queue.Empty:
                on_progress("load", 0, 1)
                if len(self._lost) == self.lanes:
                    raise UserError(
                        f"No worker of the Ray cluster runs any more ({self._lost[-1]}): see Ray's log."
                    ) from None

    def _start(self, resources: dict[str, float]) -> None:
        worker = ray.remote(self._worker).options(max_restarts=RESTARTS, **resources).remote()
        self._make_idle(_Seat(worker, resources))

    def _make_idle(self, seat: _Seat) -> None:
        """The worker takes jobs as soon as Ray has found a place for it; one that it gives up takes none, but
        where it has done so before, another one comes in its place.
        """

        def told(where: Any) -> None:
            error = where.exception()
            if self._closing.is_set():
                return
            if error is None:
                log.info("A worker is ready: %s", where.result())
                self._idle.put(replace(seat, ready=True))
            elif isinstance(error, ActorUnavailableError):  # Ray starts it again
                self._later(self._make_idle, seat)
            elif seat.ready:
                self._later(self._start, seat.resources)
            else:
                log.error("A worker is lost: %s", error)
                self._lost.append(_why_lost(error))

        if not self._closing.is_set():
            seat.worker.where.remote().future().add_done_callback(told)

    def _later(self, call: Callable[[Any], None], value: Any) -> None:
        timer = threading.Timer(RESTART_SECONDS, call, (value,))
        timer.daemon = True
        timer.start()


def devices(nodes: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What each worker asks Ray for: one graphics card; where there are none, all processors of a machine.

    `nodes`: as ray.nodes() lists them.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cards = sum(int(one.get("GPU", 0)) for one in alive)
    if cards:
        return [{"num_gpus": 1, "num_cpus": 1} for _ in range(cards)]
    processors = [one["CPU"] for one in alive if one.get("CPU", 0) >= 1]
    return [{"num_cpus": min(processors)} for _ in processors]


def _why_lost(error: BaseException) -> str:
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return (
            f"its process ended {RESTARTS + 1} times while it started"  # Ray says more than a sentence holds
        )
    return _last_line(error)


def _is_internal(error: Exception) -> bool:
    """Whether what a worker holds may be broken after it, which want of memory or of room leaves whole."""
    return not (isinstance(error, MemoryError) or lacks_room(error))


def _first_line(error: BaseException) -> str:
    return _lines(error)[0].rstrip(".")


def _last_line(error: BaseException) -> str:
    return _lines(error)[-1].rstrip(".")


def _lines(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]
