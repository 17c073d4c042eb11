"""How much of a training's time is spent, over all the calls that it is done in."""

from __future__ import annotations

import json
import time
from pathlib import Path

from backend.errors import UserError
from backend.files import atomic_path

_SHORTEST = 0.25


class Clock:
    """`minutes` for everything, `piece` minutes for this call; what is spent is kept in `path`."""

    def __init__(self, path: Path, minutes: float, piece: float | None = None):
        if minutes <= 0 or (piece is not None and piece < _SHORTEST):
            raise UserError(f"A training takes more than 0 minutes and a piece of it at least {_SHORTEST}.")
        self.total = 60 * minutes
        self._path = path
        self._started = time.monotonic()
        self._before = json.loads(path.read_text())["seconds"] if path.is_file() else 0.0
        self.piece_end = self._started + 60 * piece if piece is not None else float("inf")
        # Before a piece ends its last step is finished, the state saved and what is there packed.
        self.training_end = self.piece_end - max(6.0, 2.0 * (piece or 0.0))

    @property
    def used(self) -> float:
        """Seconds of all calls so far."""
        return self._before + time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds of the whole that are left, at least 0."""
        return max(0.0, self.total - self.used)

    @property
    def end(self) -> float:
        """When, by time.monotonic(), all minutes are spent."""
        return time.monotonic() + self.left

    def save(self) -> None:
        """Keeps what is spent for the next call."""
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps({"seconds": self.used}))
