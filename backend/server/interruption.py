"""Ends a cancelled job in the middle of library code that reports nothing, as Ctrl-C ends a program.

The main thread, which runs the jobs, gets a signal and raises Cancelled between two steps of Python: after
one library call at the latest. Only in stages that leave nothing half-done behind; elsewhere progress calls
do it.
"""

import _thread
import signal
import threading
from collections.abc import Callable
from types import FrameType

from backend.server.cancellation import Cancelled
from blender_trellis.protocol import Stage

INTERRUPTIBLE: tuple[Stage, ...] = ("finish_mesh", "bake_texture")
"""Stages that compute on arrays alone: no network is loaded or moved, nothing is sent or written."""
DELICATE = ("numba", "llvmlite", "importlib", "_frozen_importlib", "ctypes")
"""Packages that must not be left in the middle, of compiling or of loading a library."""
AGAIN_SECONDS = 0.1


class Interruption:
    """For one process; `install` it on the main thread."""

    def __init__(self) -> None:
        self._installed = self._asked = False
        self._may_end: Callable[[], bool] | None = None  # whether the job that runs now is cancelled

    def install(self) -> None:
        """Take over the signal of Ctrl-C, which goes on to mean what it did."""
        signal.signal(signal.SIGINT, self._take)
        self._installed = True

    def ask(self) -> None:
        """From any thread: let the running job end now, if it is cancelled and can be ended anywhere."""
        if self._installed:
            self._asked = True
            _thread.interrupt_main(signal.SIGINT)

    def allow(self, stage: Stage, is_cancelled: Callable[[], bool]) -> None:
        """From here on the job is in this stage."""
        self._may_end = is_cancelled if stage in INTERRUPTIBLE else None

    def forbid(self) -> None:
        """From here on the job must not be ended by a signal."""
        self._may_end = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            signal.default_int_handler(number, frame)
        self._asked = False
        if self._may_end is None or not self._may_end():
            return
        if _is_delicate(frame):
            threading.Timer(AGAIN_SECONDS, self.ask).start()
            return
        raise Cancelled


def _is_delicate(frame: FrameType | None) -> bool:
    """Whether a package that must not be left in the middle is at work."""
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in DELICATE:
            return True
        frame = frame.f_back
    return False
