"""Long work on Blender's data in steps, so that Blender can draw and be used between two of them.

A generator yields wherever it may be interrupted, or given up by closing it; then it leaves nothing behind.
"""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
CHUNK = 4000
"""So many vertices or faces of a bmesh are made or changed in one step."""


def at_once(steps: Steps[T]) -> T:
    """All steps one after the other."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
