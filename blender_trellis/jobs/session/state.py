"""The add-on's only mutable state: jobs, backend, tasks, last fault; this room reads and changes it."""

import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ...extension_paths import user_folder
from ...process.background_task import BackgroundTask
from ...protocol import ModelInfo
from ..arrivals import Arrival, Importer
from ..candidates import Candidate
from ..job import Job
from ..kept.keeper import QueueKeeper
from ..kept.stage_times import Times
from ..placement import Placement
from ..runner import JobRunner
from ..status import Ended

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Coming:
    """A finished result that is being prepared for the scene."""

    job: Job
    placement: Placement
    arrival: Future[Arrival]


class State:
    """Everything that changes while the add-on is enabled."""

    def __init__(self):
        self.runner = JobRunner()
        self.keeper = QueueKeeper(user_folder() / "queue")
        self.keeping = ""  # why the queue could not be kept, as it was told
        self.placements: dict[str, Placement] = {}  # of the jobs' results
        self.ending: list[Job] = []  # ended, and not dealt with yet
        self.importer = Importer()
        self.preparer = ThreadPoolExecutor(1, "results")
        self.coming: list[Coming] = []  # finished, being prepared for the scene
        self.arrived: list[Arrival] = []  # finished, not in a scene yet
        self.waiting = ""  # why they are not
        self.unsaved: tuple[tuple[Job, Placement], ...] = ()  # placed, in no saved file yet
        self.candidates: tuple[Candidate, ...] = ()  # by their numbers
        self.ended: tuple[Ended, ...] = ()  # the last ones, oldest first
        self.times: Times | None = None  # of stages; None until they are read
        self.tasks: dict[str, BackgroundTask] = {}
        self.running_tasks: set[str] = set()
        self.fault = ""
        self.note = ""  # what was done to the scene besides, until the next job or until it is closed
        self.remedy = ""  # what mends it: a setting, "preferences", "resume", or nothing that is known
        self.log: tuple[str, ...] = ()
        self.unstarted = ""  # why no backend could be started, as it was told
        self.shown: tuple[object, ...] = ()  # as of the last redraw
        self.seen: tuple[str, int] | None = None  # of the object that is being made
        self.told: tuple[ModelInfo, ...] | None = None  # the known models; None until they are read
        self.stored: object = None  # the backend's greeting that has been stored
        self.python: Path | None = None
        self.is_outdated = False  # whether the installed packages are those of another version
        self.python_known = float("-inf")  # when both were looked for
        self.checked: tuple[Path, float] | None = None  # the interpreter that was looked at, and when

    def finished(self) -> Iterator[tuple[Job, Placement]]:
        """The finished jobs whose results are in no scene yet."""
        for arrival in self.arrived:
            yield arrival.job, arrival.placement
        for coming in self.coming:
            yield coming.job, coming.placement

    def note_fault(self, sentence: str, lines: tuple[str, ...] = ()) -> None:
        """Shows a fault in place of the last one; `lines` are copied with it."""
        log.error("%s %s", sentence, " | ".join(lines))
        self.fault, self.log, self.remedy = sentence, lines, ""

    def note_bug(self, error: BaseException) -> None:
        """Shows what no code expected, once however often it comes; the traceback is copied with it."""
        sentence = (
            f"The add-on made a mistake ({type(error).__name__}): save your file, press Copy and report it."
        )
        if sentence != self.fault:
            self.note_fault(sentence, tuple("".join(traceback.format_exception(error)).splitlines()))


_state: State | None = None


def begin() -> None:
    """An empty state."""
    global _state
    _state = State()


def end() -> State:
    """Takes the state away, for what it holds to be closed."""
    global _state
    state, _state = current(), None
    return state


def current() -> State:
    """The state, between registration and unregistration."""
    assert _state is not None, "the add-on is not registered"
    return _state
