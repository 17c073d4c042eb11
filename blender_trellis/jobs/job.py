"""Jobs and their order: messages in, new values out. Nothing waits, sends or changes in place; no bpy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, get_args

from ..protocol import (
    Cancelled,
    Complete,
    Encode,
    Failed,
    FailureKind,
    Finish,
    Finished,
    Format,
    FromBackend,
    Generate,
    Loaded,
    LoadModel,
    Making,
    OfAsset,
    Progress,
    Remedy,
    Result,
    Sampled,
    Vary,
)
from .results import TRY_AGAIN, Part, checked

Change = Callable[[Making], Making]

State = Literal["queued", "running", "finished", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("finished", "failed", "cancelled")

# how much of a job each stage is until it has been measured, in their order, and what people call it
STAGES: dict[str, tuple[float, str]] = {
    "load": (10.0, "Loading the model"),
    "encode": (20.0, "Reading the mesh"),
    "condition": (5.0, "Looking at the picture"),
    "sparse_structure": (30.0, "Shaping"),
    "decode_sparse_structure": (2.0, "Finding the shape"),
    "structured_latent": (33.0, "Detailing"),
    "decode_gaussian": (5.0, "Making Gaussians"),
    "decode_radiance_field": (5.0, "Making the radiance field"),
    "decode_mesh": (8.0, "Making the mesh"),
    "extract_mesh": (2.0, "Drawing the surface"),
    "finish_mesh": (10.0, "Finishing the mesh"),
    "bake_texture": (10.0, "Baking the texture"),
}


@dataclass(frozen=True)
class Job:
    """One request and how far it has come."""

    id: str
    request: Making | LoadModel
    state: State = "queued"
    stage: str = ""
    fraction: float = 0.0  # of the whole job, never falls
    message: str = "Waiting"  # one line to show; of a failed job the sentence with fault and remedy
    failure: FailureKind | None = None
    remedy: Remedy = ""  # the setting that mends the failure
    cancelling: bool = False  # asked to stop, not stopped yet
    parts: tuple[Part, ...] = ()
    summary: Finished | Loaded | None = None  # of a finished job
    sent_again: bool = False  # whether a backend died before it said a word about it
    times: Mapping[str, float] = field(default_factory=dict)  # seconds that stages took in earlier jobs
    seconds: float = 0.0  # since the backend began with it
    begun: tuple[tuple[str, float], ...] = ()  # stages so far and the second at which each began

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in FINAL

    def part(self, kind: str) -> Part | None:
        """The latest part of a kind, None if it has not come."""
        return next((part for part in reversed(self.parts) if part.kind == kind), None)


def new_job(request: Making | LoadModel, times: Mapping[str, float] = MappingProxyType({})) -> Job:
    """A job that waits; it is called as its request calls it. times: what stages took in earlier jobs."""
    return Job(request.job, request, times=times)


def apply(job: Job, message: FromBackend) -> Job:
    """The job after a message. Messages of other jobs, and all after the final one, change nothing."""
    if job.ended or getattr(message, "job", None) != job.id:
        return job
    match message:
        case Progress():
            return _advance(job, message)
        case Result():
            return apply(job, checked(message))
        case Part():
            return replace(job, state="running", parts=(*job.parts, message))
        case Finished() | Loaded():
            if lacking := _lacking(job):
                return fail(job, "protocol", f"The backend sent no {lacking}. {TRY_AGAIN}")
            ended = replace(job, state="finished", fraction=1.0, message="Done", summary=message)
            return replace(ended, seconds=message.seconds)
        case Failed():
            return replace(fail(job, message.kind, message.message), remedy=message.remedy)
        case Cancelled():
            return replace(job, state="cancelled", message="Cancelled")
    return job


def _lacking(job: Job) -> str:
    """A part that the job cannot do without and that has not come, "" if none."""
    match job.request:
        case LoadModel():
            wanted: tuple[str, ...] = ()
        case Vary(onto="mesh"):
            wanted = ("vertex_colors",)
        case Finish():
            wanted = ("finished_mesh",)
        case Generate(structure_only=True):
            wanted = ("structure_latent", "voxels")
        case _:
            wanted = job.request.formats
    return next((kind for kind in wanted if job.part(kind) is None), "").replace("_", " ")


def fail(job: Job, kind: FailureKind, sentence: str) -> Job:
    """The job, ended by a fault."""
    return replace(job, state="failed", failure=kind, message=sentence)


def _advance(job: Job, progress: Progress) -> Job:
    done = min(max(progress.step / progress.steps, 0.0), 1.0) if progress.steps > 0 else 0.0
    fraction = max(job.fraction, _fraction(job, progress.stage, done))
    words = _words(job.request, progress.stage)
    if progress.steps > 1:
        words = f"{words} {progress.step}/{progress.steps}"
    message = "Cancelling" if job.cancelling else words
    begun = job.begun
    if progress.stage != job.stage:
        begun = (*begun, (progress.stage, progress.seconds))
    told = replace(job, state="running", stage=progress.stage, fraction=fraction, message=message)
    return replace(told, seconds=progress.seconds, begun=begun)


def _words(request: Making | LoadModel, stage: str) -> str:
    if stage == "condition" and isinstance(request, Sampled) and request.prompt:
        return "Reading the words"
    return STAGES[stage][1]


def stage_seconds(job: Job) -> dict[str, float]:
    """What each stage of a finished job took."""
    ends = [second for _, second in job.begun[1:]] + [job.seconds]
    return {stage: max(end - start, 0.0) for (stage, start), end in zip(job.begun, ends, strict=True)}


def seconds_left(job: Job) -> float | None:
    """How long the job will still take, by earlier ones; None where none are known."""
    weights = _weights(job, job.stage)
    if not job.times or not weights.keys() <= job.times.keys():
        return None
    return sum(job.times[name] for name in weights) * (1 - job.fraction)


def _fraction(job: Job, stage: str, done: float) -> float:
    """Where `done` of a stage lies within the whole job, by the weights of the stages it goes through."""
    if isinstance(job.request, LoadModel):
        return done
    weights = _weights(job, stage)
    names = list(weights)
    before = sum(weights[name] for name in names[: names.index(stage)])
    return (before + done * weights[stage]) / sum(weights.values())


def _weights(job: Job, stage: str) -> dict[str, float]:
    """The stages that the job goes through, and its present one, each with its share or its seconds."""
    if isinstance(job.request, LoadModel):
        return {}
    left_out = _left_out(job.request)
    names = [name for name in STAGES if name == stage or name not in left_out]
    if all(name in job.times for name in names) and sum(job.times[name] for name in names) > 0:
        return {name: job.times[name] for name in names}
    return {name: STAGES[name][0] for name in names}


def _left_out(request: Making) -> set[str]:
    """The stages that the request does not go through."""
    left_out = {f"decode_{name}" for name in get_args(Format) if name not in request.formats}
    if "mesh" not in request.formats:
        left_out |= {"extract_mesh", "finish_mesh", "bake_texture"}
    if isinstance(request, Complete):
        left_out.add("sparse_structure")
    if isinstance(request, Generate) and request.structure_only:
        left_out = set(STAGES) - {"load", "condition", "sparse_structure", "decode_sparse_structure"}
    if isinstance(request, Finish):
        left_out = set(STAGES) - {"load", "finish_mesh", "bake_texture"}
    if request.finishing.preset == "raw":
        left_out.add("finish_mesh")
    if request.finishing.texture == 0:
        left_out.add("bake_texture")
    if not isinstance(request, OfAsset | Encode) or "vertices" not in request.arrays:
        left_out.add("encode")
    return left_out


@dataclass(frozen=True)
class JobQueue:
    """All jobs in their order, at most one of them running. Every method returns a new queue."""

    jobs: tuple[Job, ...] = ()

    @property
    def running(self) -> Job | None:
        """The one that is being made."""
        return next((job for job in self.jobs if job.state == "running"), None)

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Those that are still to be made, in their order."""
        return tuple(job for job in self.jobs if job.state == "queued")

    @property
    def ended(self) -> tuple[Job, ...]:
        """Those of which nothing more comes."""
        return tuple(job for job in self.jobs if job.ended)

    def find(self, name: str) -> Job | None:
        """The job of a name, None if there is none."""
        return next((job for job in self.jobs if job.id == name), None)

    def add(self, job: Job) -> "JobQueue":
        """With a job more, behind the others; ValueError if its name is taken."""
        if self.find(job.id):
            raise ValueError(f"There is already a job called {job.id}.")
        return JobQueue((*self.jobs, job))

    def start_next(self, change: Change = lambda request: request) -> tuple["JobQueue", Job | None]:
        """With the oldest waiting job running, and that job, whose changed request is to be sent; None if one
        runs already or none waits."""
        if self.running or not self.waiting:
            return self, None
        first = self.waiting[0]
        request = change(first.request) if isinstance(first.request, Making) else first.request
        started = replace(first, request=request, state="running", message="Starting")
        return self._with(started), started

    def apply(self, message: FromBackend) -> "JobQueue":
        """After a message of the backend."""
        job = self.find(getattr(message, "job", ""))
        return self._with(apply(job, message)) if job else self

    def moved(self, name: str, by: int) -> "JobQueue":
        """With a waiting job so many places later among those that wait, or earlier."""
        waiting = list(self.waiting)
        job = next((one for one in waiting if one.id == name), None)
        if job is None:
            return self
        place = min(max(waiting.index(job) + by, 0), len(waiting) - 1)
        waiting.remove(job)
        waiting.insert(place, job)
        return JobQueue((*(one for one in self.jobs if one.state != "queued"), *waiting))

    def cancel(self, name: str) -> tuple["JobQueue", bool]:
        """Without a waiting job, at once; and whether the job runs, so that the backend has to be told."""
        job = self.find(name)
        if job is None or job.ended:
            return self, False
        if job.state == "running":
            return self._with(replace(job, cancelling=True, message="Cancelling")), True
        return self._with(replace(job, state="cancelled", message="Cancelled")), False

    def backend_died(self, reason: str, once_more: bool = False) -> "JobQueue":
        """The running job has failed, or has been cancelled if that was asked; the waiting ones stay.

        once_more: whether it goes back among them if nothing has been heard of it, the first time.
        """
        job = self.running
        if job is None:
            return self
        if job.cancelling:
            return self._with(replace(job, state="cancelled", message="Cancelled"))
        if once_more and not (job.stage or job.parts or job.sent_again):
            return self._with(replace(job, state="queued", message="Waiting", sent_again=True))
        return self._with(fail(job, "backend_died", reason))

    def put_back(self) -> "JobQueue":
        """The running job waits again, before the others: no backend was there to begin with it."""
        job = self.running
        return self if job is None else self._with(replace(job, state="queued", message="Waiting"))

    def without(self, name: str) -> "JobQueue":
        """After a job that has ended has been dealt with."""
        return JobQueue(tuple(job for job in self.jobs if job.id != name))

    def _with(self, changed: Job) -> "JobQueue":
        return JobQueue(tuple(changed if job.id == changed.id else job for job in self.jobs))
