"""A lock that says whether the Blender that a folder belongs to is still there. Standard library only."""

import os
from pathlib import Path
from typing import IO

NAME = "lock"


def take_lock(folder: Path) -> IO[bytes] | None:
    """The lock of a folder, held until the file is closed or the process ends; None while another has it."""
    try:
        file = open(folder / NAME, "ab")
    except OSError:
        return None
    try:
        _lock(file)
    except OSError:
        file.close()
        return None
    return file


if os.name == "nt":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
