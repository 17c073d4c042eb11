"""An engine whose jobs run on the devices of a Ray cluster.

Ray places one worker on each device, starts those again that die, and carries requests and answers. A job
whose worker dies goes to the next worker that is free.
"""

import contextlib
import logging
import os
import platform
import queue
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from backend.errors import UserError
from backend.farm.worker import Answer, Worker
from backend.server.cancellation import Cancelled
from backend.server.interface import FinishedInfo, LoadedInfo, OnProgress, OnResult
from backend.version import VERSION
from blender_trellis.protocol import PROTOCOL_VERSION, Device, Hello, Making

log = logging.getLogger(__name__)

TRIES = 4  # of a job, each on a worker that died of it or with it
POLL_SECONDS = 0.5
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


class RayEngine:
    """As many jobs run at a time as there are workers; more callers wait."""

    def __init__(self, worker: type[Worker] = Worker) -> None:
        """Within `cluster`; `worker` is started on every device. UserError where there is none."""
        self._worker = worker
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workers = [self._start(resources) for resources in devices(ray.nodes())]
        if not self._workers:
            raise UserError("The Ray cluster has neither processors nor graphics cards: add a machine to it.")

    @property
    def lanes(self) -> int:
        """How many jobs can run at a time."""
        return len(self._workers)

    def hello(self) -> Hello:
        """Versions, and the workers as devices; torch runs elsewhere."""
        found = tuple(Device(f"ray:{number}", "Ray worker") for number in range(self.lanes))
        return Hello(PROTOCOL_VERSION, VERSION, platform.python_version(), "", devices=found)

    def load(self, model: str, device: str, precision: str, engine: str) -> LoadedInfo:
        """Workers load what their jobs need."""
        raise UserError("Models are not loaded ahead on a cluster: send a job.")

    def run(self, request: Making, on_progress: OnProgress, on_result: OnResult) -> FinishedInfo:
        """Makes one object on the next free worker. Results are handed on once all of them are there."""
        for _ in range(TRIES):
            try:
                answer = self._ask(request, on_progress)
            except RayActorError as error:
                log.warning("%s: its worker died (%s)", request.job, _first_line(error))
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
        worker = self._next_idle(on_progress)
        try:
            coming = worker.make.remote(request)
            while not ray.wait([coming], timeout=POLL_SECONDS)[0]:
                on_progress("load", 1, 1)  # raises where the job was cancelled
            return ray.get(coming)
        except Cancelled:
            ray.kill(worker, no_restart=False)  # it is at work on what nobody wants any more
            raise
        finally:
            self._make_idle(worker)

    def _next_idle(self, on_progress: OnProgress) -> Any:
        while True:
            try:
                return self._idle.get(timeout=POLL_SECONDS)
            except queue.Empty:
                on_progress("load", 0, 1)

    def _start(self, resources: dict[str, float]) -> Any:
        worker = ray.remote(self._worker).options(max_restarts=-1, **resources).remote()
        self._make_idle(worker)
        return worker

    def _make_idle(self, worker: Any) -> None:
        """The worker takes jobs as soon as Ray has found a place for it; one that it gives up takes none."""

        def told(where: Any) -> None:
            if where.exception() is None:
                log.info("A worker is ready: %s", where.result())
                self._idle.put(worker)
            elif isinstance(where.exception(), RayActorError):
                self._make_idle(worker)  # Ray starts it again

        worker.where.remote().future().add_done_callback(told)


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
