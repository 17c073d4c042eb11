"""What runs on one device of a cluster: an engine that keeps its model from one job to the next."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.errors import UserError
from backend.machine.memory import is_out_of_memory
from backend.server.interface import FinishedInfo
from blender_trellis.protocol import Making, ResultKind, Scalar


@dataclass(frozen=True)
class Part:
    """One result of a job, as `Engine.run` hands it on."""

    kind: ResultKind
    info: Mapping[str, Scalar]
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Answer:
    """All that became of a job; `refused`: what to tell who asked for it, where it cannot be done."""

    parts: tuple[Part, ...] = ()
    finished: FinishedInfo | None = None
    refused: UserError | None = None


class Worker:
    """Holds one device for as long as it lives."""

    def __init__(self) -> None:
        self._engine: Any = None

    def where(self) -> str:
        """The machine and the process."""
        return f"{socket.gethostname()}, process {os.getpid()}"

    def make(self, request: Making) -> Answer:
        """Makes or changes one object. What nobody has asked wrongly is raised."""
        if self._engine is None:
            from backend.trellis.engine import TrellisEngine  # imports torch, which the driver never needs

            self._engine = TrellisEngine()
        parts: list[Part] = []
        try:
            finished = self._engine.run(
                request,
                lambda stage, step, steps: None,
                lambda kind, info, arrays: parts.append(Part(kind, info, arrays)),
            )
        except UserError as error:
            return Answer(refused=error)
        except Exception as error:
            if is_out_of_memory(error):  # its own class may not be known where the answer is read
                raise MemoryError from error
            raise
        return Answer(tuple(parts), finished)
