"""This side's ends of the pipes: requests come in on a guarded stdin, messages leave on a guarded stdout."""

import os
import sys
import threading
from typing import BinaryIO

from blender_trellis.protocol import Buffer, Hello, Message, encode


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """(requests, replies): private copies of descriptors 0 and 1.

    From here on every print and every C library that writes to descriptor 1 writes to the log, and whoever
    reads descriptor 0 finds it empty.
    """
    sys.stdout.flush()
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests, replies


class Channel:
    """Sends whole messages from any thread, one after another; what is told before Hello waits for it."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._lock = threading.Lock()
        self._early: list[Buffer] | None = []  # None once Hello is sent
        self.closed = threading.Event()  # the other side no longer listens

    def send(self, message: Message) -> None:
        """Write one message; ProtocolError if the other side would refuse it."""
        pieces = encode(message)
        with self._lock:
            if self.closed.is_set():
                return
            if isinstance(message, Hello):
                pieces, self._early = [*pieces, *(self._early or ())], None
            elif self._early is not None:
                self._early += pieces
                return
            try:
                for piece in pieces:
                    self._write(memoryview(piece).cast("B"))
            except OSError:  # a closed pipe: nobody is there to be told
                self.closed.set()

    def _write(self, view: memoryview) -> None:
        while view:
            view = view[self._stream.write(view) :]
