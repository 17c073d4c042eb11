"""A lock that says whether the Blender that a folder belongs to is still there. Standard library only."""

from pathlib import Path
from typing import IO

from ...file_lock import lock_file

NAME = "lock"


def take_lock(folder: Path) -> IO[bytes] | None:
    """The lock of a folder, held until the file is closed or the process ends; None while another has it."""
    try:
        file = open(folder / NAME, "ab")
    except OSError:
        return None
    try:
        lock_file(file.fileno())
    except OSError:
        file.close()
        return None
    return file
