"""What panels show of jobs and backend, read off the runner; nothing here changes anything."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..protocol import Making
from .asset import frame_of
from .job import State, seconds_left
from .placement import Placement
from .runner import JobRunner


@dataclass(frozen=True)
class Status:
    """What panels show."""

    job: str = ""  # the one that runs or waits to
    name: str = ""  # of what it makes
    fraction: float = 0.0
    stage: str = ""
    words: str = ""
    seconds: int = 0  # since it began
    left: int | None = None  # seconds that it will still take, where that is known
    fault: str = ""
    log: tuple[str, ...] = ()  # what is copied with the fault
    note: str = ""  # what was done besides
    waiting: str = ""  # why a finished result is not in the scene yet
    backend: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listed:
    """A job as the queue's panel lists it."""

    id: str
    name: str
    state: State
    message: str


@dataclass(frozen=True)
class Growing:
    """What is there so far of an object that is being made."""

    key: tuple[str, int]  # another one whenever there is more to see
    placement: Placement
    coords: np.ndarray  # (L, 3)
    resolution: int
    frame: tuple[float, float, float, float]  # scale and offset of the unit cube in what was sent
    gaussian: Mapping[str, np.ndarray] | None

    def filled(self) -> np.ndarray:
        """The voxels (R, R, R) bool."""
        grid = np.zeros((self.resolution,) * 3, bool)
        grid[tuple(self.coords.T)] = True
        return grid

    def outline(self) -> np.ndarray:
        """The lowest and the highest corner (2, 3) of the voxels in the asset's frame."""
        ends = np.stack([self.coords.min(axis=0), self.coords.max(axis=0) + 1])
        return ends / self.resolution - 0.5


@dataclass(frozen=True)
class Ended:
    """A job that has ended, with what it takes to run it again."""

    listed: Listed
    request: Making
    placement: Placement


def status_of(
    runner: JobRunner,
    placements: Mapping[str, Placement],
    fault: str,
    log: tuple[str, ...],
    note: str,
    waiting: str,
) -> Status:
    """How things stand; `placements` are those of the jobs, by their names."""
    job = runner.queue.running or next(iter(runner.queue.waiting), None)
    backend = _backend_lines(runner)
    if job is None:
        return Status(fault=fault, log=log, note=note, waiting=waiting, backend=backend)
    left, since = seconds_left(job), runner.unheard_seconds
    return Status(
        job.id,
        label(placements[job.id]),
        job.fraction,
        job.stage,
        "Starting the backend" if runner.is_starting else runner.held or job.message,
        round(job.seconds + since),
        None if left is None else round(max(left - since, 0.0)),
        fault,
        log,
        note,
        waiting,
        backend,
    )


def listed(runner: JobRunner, placements: Mapping[str, Placement]) -> tuple[Listed, ...]:
    """The jobs that run and wait, in their order."""
    return tuple(
        Listed(job.id, label(placements[job.id]), job.state, job.message) for job in runner.queue.jobs
    )


def label(placement: Placement) -> str:
    """What a job is called in lists."""
    return f"{placement.name} {placement.candidate}" if placement.candidate else placement.name


def growing_of(runner: JobRunner, placements: Mapping[str, Placement]) -> Growing | None:
    """What can be shown of the job that runs; None before its first voxels, and of edits of what is there."""
    job = runner.queue.running
    if job is None:
        return None
    placement = placements[job.id]
    if placement.candidate or placement.edits or placement.recolors or placement.finishes:
        return None
    voxels = job.part("voxels") or job.part("preview")
    if voxels is None:
        return None
    gaussian = job.part("gaussian")
    return Growing(
        (job.id, len(job.parts)),
        placements[job.id],
        voxels.arrays["coords"],
        int(voxels.info["resolution"]),
        frame_of(voxels),
        gaussian.arrays if gaussian is not None else None,
    )


def _backend_lines(runner: JobRunner) -> tuple[str, ...]:
    if not runner.is_alive:
        return (runner.told or "Starts when it is needed",)
    if runner.is_starting or runner.hello is None:
        return ("Starting",)
    kinds = ", ".join(device.kind for device in runner.hello.devices)
    return (
        f"Running on {kinds}",
        f"torch {runner.hello.torch}",
        f"Memory: {runner.memory_bytes / 2**30:.1f} GB",
    )
