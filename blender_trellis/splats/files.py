"""Which file of splats is read and written how."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..faults import Fault
from ..ordinary_file import check_ordinary
from .packed_ply import write_packed_ply
from .ply import read_ply, write_ply
from .rows32 import read_rows
from .spz import read_spz
from .values import Splats

READERS: dict[str, Callable[[Path], Splats]] = {".ply": read_ply, ".splat": read_rows, ".spz": read_spz}
WRITERS: dict[str, Callable[[Path, Splats], None]] = {"PLY": write_ply, "PACKED": write_packed_ply}
# Files have y down: a quarter turn about x, (x, y, z) -> (x, -z, y), leads to them from Blender's z up.
TO_FILE = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])


def read_splats(path: Path) -> tuple[Splats, int]:
    """The splats in the file's own frame, and how many were left out because their values are no numbers.

    Raises Fault: one sentence about what is wrong with the file.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise Fault(f'"{path}" is no file of splats: choose one that ends in {", ".join(READERS)}.')
    try:
        check_ordinary(path)
        with np.errstate(over="ignore", invalid="ignore"):  # doubles that are no float32: not sound then
            found = reader(path)
    except OSError as error:
        raise Fault(f'"{path}" cannot be read ({error.strerror or error}).') from error
    splats = found.sound()
    if not len(splats):
        raise Fault(f'"{path}" holds no splats that could be shown.')
    return splats, len(found) - len(splats)
