"""Ctrl-C in a batch: the first lets the object that is being made be finished, the second gives it up."""

import contextlib
import os
import signal
from types import FrameType

_WORDS = b"\nFinishing this object; press Ctrl-C again to give it up.\n"


class Interrupts:
    """Takes SIGINT over, also from a Blender in the background, which would otherwise keep the first one."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(OSError):
            os.write(2, _WORDS)  # not through sys.stderr, in the middle of whose writing this may come
