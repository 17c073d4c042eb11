"""Waiting for another thread or process: as long as a loaded machine may need, and never for ever."""

import time
from collections.abc import Callable

PATIENCE = 300.0  # seconds, after which something hangs


def wait_until(condition: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Returns as soon as the condition holds; AssertionError where it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"nothing came of it in {PATIENCE:.0f} seconds"
        meanwhile()
        time.sleep(0.01)
