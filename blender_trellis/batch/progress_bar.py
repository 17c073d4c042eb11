"""A progress bar for terminals; where there is no terminal, one line a stage. No bpy here."""

import time
from typing import TextIO

WIDTH = 28


class ProgressBar:
    """Shows how far one picture has come."""

    def __init__(self, stream: TextIO, title: str):
        self._stream = stream
        self._title = title
        self._live = stream.isatty()
        self._began = time.monotonic()
        self._shown = ""

    def update(self, fraction: float, stage: str, words: str) -> None:
        """Shows a new state; says nothing where it is the one that is shown."""
        filled = round(WIDTH * min(max(fraction, 0.0), 1.0))
        bar = "#" * filled + "-" * (WIDTH - filled)
        seconds = time.monotonic() - self._began
        if self._live:
            text = f"\r\x1b[K{self._title} [{bar}] {fraction:4.0%} {words} {seconds:.0f} s"
            self._write(text, text)
        else:
            self._write(f"{self._title} [{bar}] {fraction:4.0%} {words} {seconds:.0f} s\n", stage or "start")

    def end(self, words: str) -> None:
        """Shows the outcome."""
        seconds = time.monotonic() - self._began
        self._write(
            f"{chr(13) + chr(27) + '[K' if self._live else ''}{self._title}: {words} ({seconds:.1f} s)\n", ""
        )

    def _write(self, text: str, key: str) -> None:
        if key and key == self._shown:
            return
        self._shown = key
        self._stream.write(text)
        self._stream.flush()
