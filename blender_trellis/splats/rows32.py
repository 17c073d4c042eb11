"""The .splat file of web viewers: 32 bytes a splat and no header, colours without harmonics."""

from pathlib import Path

import numpy as np

from ..faults import Fault
from . import harmonics
from .packed_ply import logit
from .values import Splats

_ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("rotation", "u1", 4)])


def read_rows(path: Path) -> Splats:
    """Raises Fault where the file's length is that of no splats, OSError."""
    data = path.read_bytes()
    if not data or len(data) % _ROW.itemsize:
        raise Fault(f'"{path}" is not a .splat file: its length is no multiple of 32 bytes.')
    rows = np.frombuffer(data, _ROW)
    color = rows["color"].astype(np.float32) / 255
    return Splats(
        rows["position"].copy(),
        (color[:, :3] - 0.5) / np.float32(harmonics.DC),
        logit(color[:, 3:]),
        np.log(np.maximum(rows["scale"], 1e-30)),
        (rows["rotation"].astype(np.float32) - 128) / 128,
        np.zeros((len(rows), 3, 0), np.float32),
    )
