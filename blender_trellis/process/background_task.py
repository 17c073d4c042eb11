"""One long piece of work on a thread, watched from the main thread. No bpy here."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class TaskState:
    """What can be seen of a task at one moment."""

    title: str
    fraction: float = 0.0
    words: str = ""
    done: bool = False
    cancelled: bool = False
    result: object = None
    error: Exception | None = None


class BackgroundTask:
    """Runs `work(report, cancel)` on a daemon thread. `state` is replaced whole: read it at any time."""

    def __init__(self, title: str, work: Callable[[Report, threading.Event], object]):
        self.state = TaskState(title)
        self._work = work
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._run, name=title, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Asks the work to stop, which looks at the event from time to time."""
        self._cancel.set()

    def wait(self, seconds: float) -> None:
        """Waits for the end, for so long at most."""
        self._thread.join(seconds)

    def _report(self, fraction: float, words: str) -> None:
        self.state = TaskState(self.state.title, fraction, words)

    def _run(self) -> None:
        title = self.state.title
        try:
            result = self._work(self._report, self._cancel)
        except Exception as error:  # noqa: BLE001 (whatever it is, the main thread shows it)
            self.state = TaskState(title, done=True, cancelled=self._cancel.is_set(), error=error)
        else:
            self.state = TaskState(title, 1.0, done=True, result=result)
