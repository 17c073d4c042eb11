"""The backend's log: a file of bounded size, and its last lines in memory. Standard library only."""

import contextlib
import logging
import threading
from collections import deque
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

LINE_BYTES = 4096
FILE_BYTES = 8 << 20  # then a new file is begun, and one old one kept
LINES_KEPT = 60
REMARK = "[add-on] "


class BackendLog:
    """Takes lines from the thread that reads the backend's stderr; `tail` may be asked by any thread."""

    def __init__(self, path: Path):
        self._path = path
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._written = 0

    def begin(self) -> None:
        """Open the file; what comes before is only in memory."""
        self._open()

    def follow(self, stream: IO[bytes]) -> None:
        """Copy a stream to its end."""
        while line := stream.readline(LINE_BYTES):
            self._add(line)
        with self._lock:
            self._close()

    def note(self, sentence: str) -> None:
        """A remark of the add-on's own, among the backend's lines."""
        self._add(f"{REMARK}{sentence}\n".encode())

    def tail(self, lines: int = 12) -> str:
        """The last lines, one string with line breaks."""
        with self._lock:
            return "\n".join(list(self._lines)[-lines:])

    def _add(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        with self._lock:
            if text:
                self._lines.append(text)
            self._write(line)
        if self._written > FILE_BYTES:
            self._open()

    def _write(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
            self._file.flush()
            self._written += len(line)
        except OSError as error:  # as on a full disk: who reads the backend must go on
            log.warning("The backend's log cannot be written to %s: %s", self._path, error)
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what could not be written is tried again here
                file.close()

    def _open(self) -> None:
        with self._lock:
            self._close()
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if self._path.exists() and self._path.stat().st_size > FILE_BYTES // 8:
                    self._path.replace(self._path.with_suffix(".old" + self._path.suffix))
                self._file = self._path.open("ab")
                self._written = self._file.tell()
            except OSError as error:  # a backend without a log file is still a backend
                log.warning("The backend's log cannot be written to %s: %s", self._path, error)
