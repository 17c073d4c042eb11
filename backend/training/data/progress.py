"""A progress bar on stderr: one line that is redrawn on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time

_WIDTH = 30


class ProgressBar:
    """`title [####....] done/total, seconds left`."""

    def __init__(self, title: str, total: int, shown: bool = True):
        self.title = title
        self.total = max(total, 1)
        self.shown = shown
        self._done = 0
        self._started = time.monotonic()
        self._drawn = 0.0

    def advance(self, count: int = 1) -> None:
        """Counts, and draws at most every half second (ten seconds in a log)."""
        self._done += count
        pause = 0.5 if sys.stderr.isatty() else 10.0
        if time.monotonic() - self._drawn > pause:
            self._draw()

    def close(self) -> None:
        """Draws the end."""
        self._draw()
        if self.shown and sys.stderr.isatty():
            sys.stderr.write("\n")

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if not self.shown:
            return
        share = min(1.0, self._done / self.total)
        left = (self._drawn - self._started) * (1 / share - 1) if share else float("nan")
        bar = "#" * round(share * _WIDTH)
        line = f"{self.title} [{bar:.<{_WIDTH}}] {self._done}/{self.total}, {left:.0f} s left"
        sys.stderr.write(f"\r{line}\x1b[K" if sys.stderr.isatty() else f"{line}\n")
        sys.stderr.flush()
