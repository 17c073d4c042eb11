"""Messages between a reading and a polling thread, bounded by the bytes they hold. Standard library only."""

import threading
from collections import deque

from ..protocol import FromBackend

MESSAGE_BYTES = 1024  # what a message without arrays is counted as


class MessageQueue:
    """First in, first out. `put` waits while the queue is full, `take` never waits."""

    def __init__(self, limit_bytes: int = 1 << 30):
        self._limit = limit_bytes
        self._waiting: deque[FromBackend] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: FromBackend) -> None:
        """Add a message; one larger than the whole queue is let in alone. After close() it is dropped."""
        size = _size(message)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._bytes or self._bytes + size <= self._limit
            )
            if not self._closed:
                self._waiting.append(message)
                self._bytes += size

    def take(self) -> FromBackend | None:
        """The oldest message, None if there is none."""
        with self._changed:
            if not self._waiting:
                return None
            message = self._waiting.popleft()
            self._bytes -= _size(message)
            self._changed.notify_all()
            return message

    def close(self) -> None:
        """Let go of who waits; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _size(message: FromBackend) -> int:
    arrays = getattr(message, "arrays", {}).values()
    return MESSAGE_BYTES + sum(memoryview(array.data).nbytes for array in arrays)
