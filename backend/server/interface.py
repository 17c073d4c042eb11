"""What the server of jobs asks of an engine; the real one and the tests' stand-ins have this shape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from blender_trellis.protocol import Hello, Making, ResultKind, Scalar, Stage

OnProgress = Callable[[Stage, int, int], None]  # stage, step, steps, often the same again; raises Cancelled
OnResult = Callable[[ResultKind, Mapping[str, Scalar], Mapping[str, np.ndarray]], None]  # kind, info, arrays


@dataclass(frozen=True)
class LoadedInfo:
    """A model in memory: its name, and the device and precision that "auto" came to."""

    model: str
    device: str
    precision: str
    model_hash: str = ""


@dataclass(frozen=True)
class FinishedInfo:
    """What made an object, so that it can be made again."""

    seed: int
    model: str
    model_hash: str = ""
    picture_hash: str = ""


class Engine(Protocol):
    """Turns requests into results. UserError for what the person can mend; Cancelled passes through."""

    def hello(self) -> Hello:
        """Versions, devices and models; may be slow, as it is the first to touch torch."""

    def load(self, model: str, device: str, precision: str, engine: str) -> LoadedInfo:
        """Bring a model into memory."""

    def run(self, request: Making, on_progress: OnProgress, on_result: OnResult) -> FinishedInfo:
        """Make or change one object, telling of each part as soon as it exists."""
