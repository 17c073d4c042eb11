"""What is looked at before a file is read whole. No bpy here."""

import stat
from pathlib import Path

from .faults import Fault

LARGEST_FILE = 4 << 30


def check_ordinary(path: Path) -> None:
    """Fault for what has no end, as a named pipe, or does not fit into memory. OSError where nothing is."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise Fault(f'"{path}" is no ordinary file: choose another one.')
    if info.st_size > LARGEST_FILE:
        raise Fault(f'"{path}" is larger than {LARGEST_FILE >> 30} GB: choose a smaller one.')
