"""Locks of files, which end as a file is closed or its process ends. Standard library only."""

import os
import sys


def lock_file(descriptor: int, wait: bool = False, at: int = 0) -> None:
    """Makes an open file this process's alone; `wait`: as soon as another one lets go of it.

    at: the byte that is locked on Windows, where nobody else can read it then. OSError where another process
    has the file, or its file system knows no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, at, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
