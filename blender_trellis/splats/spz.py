"""The .spz file of Niantic, versions 2 and 3: one gzip stream, an attribute after the other.

Its frame has x right, y up and z back; it is turned here to that of .ply files, y down and z ahead.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

from ..faults import Fault
from . import harmonics
from .packed_ply import logit
from .values import Splats

_HEADER = np.dtype(
    [("magic", "S4"), ("version", "<u4"), ("count", "<u4"), ("degree", "u1"), ("bits", "u1"), ("flags", "u2")]
)
_MOST = 10_000_000  # splats that the format's own library reads of a file
_COLOR_SCALE = 0.15  # a byte is 255 · (0.5 + 0.15 · f_dc)
_TURN = np.diag([1.0, -1.0, -1.0, 1.0])


def read_spz(path: Path) -> Splats:
    """Raises Fault where the file is damaged or of another version, OSError."""
    try:
        with gzip.open(path) as file:
            count, version, degree, bits = _facts(file.read(_HEADER.itemsize), path)
            harmonic_count = harmonics.COUNTS[degree]
            widths = (9, 1, 3, 3, 3 if version == 2 else 4, 3 * harmonic_count)
            # The sum is compared at the end of the file, which is looked for; what follows may have none.
            data = file.read(count * sum(widths) + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Fault(
            f'"{path}" is not a .spz file that can be read, or it is damaged: export it again.'
        ) from error
    if len(data) < count * sum(widths):
        raise Fault(f'"{path}" ends too early: {count:,} splats are announced. Export it again.')
    parts, start = [], 0
    for width in widths:
        parts.append(np.frombuffer(data, np.uint8, count * width, start).reshape(count, width))
        start += count * width
    position, alpha, color, scale, rotation, rest = parts
    splats = Splats(
        _fixed_points(position) / np.float32(1 << bits),
        (color.astype(np.float32) / 255 - 0.5) / np.float32(_COLOR_SCALE),
        logit(alpha.astype(np.float32) / 255),
        scale.astype(np.float32) / 16 - 10,
        _first_three(rotation) if version == 2 else _smallest_three(rotation),
        # Here a coefficient's three channels lie side by side.
        ((rest.astype(np.float32) - 128) / 128).reshape(count, harmonic_count, 3).transpose(0, 2, 1),
    )
    return splats.moved(_TURN)


def _facts(data: bytes, path: Path) -> tuple[int, int, int, int]:
    """Number of splats, version, degree of the harmonics, bits behind the point. Fault where one is odd."""
    header = np.frombuffer(data, _HEADER)[0] if len(data) == _HEADER.itemsize else None
    if (
        header is None
        or header["magic"] != b"NGSP"
        or header["version"] not in (2, 3)
        or header["degree"] > 3
    ):
        raise Fault(f'"{path}" is not a .spz file of version 2 or 3: export it as PLY instead.')
    count, version, degree, bits = (int(header[name]) for name in ("count", "version", "degree", "bits"))
    if count > _MOST:
        raise Fault(f'"{path}" announces {count:,} splats, and at most {_MOST:,} are read: export fewer.')
    return count, version, degree, bits


def _fixed_points(data: np.ndarray) -> np.ndarray:
    """(N, 9) bytes -> (N, 3) signed integers of 24 bits, as float32."""
    low, middle, high = data.reshape(-1, 3, 3).astype(np.int32).transpose(2, 0, 1)
    value = low | middle << 8 | high << 16
    return (value - ((value >> 23) << 24)).astype(np.float32)


def _first_three(data: np.ndarray) -> np.ndarray:
    """x, y, z as bytes; w follows and is positive."""
    xyz = data.astype(np.float32) / 127.5 - 1
    w = np.sqrt(np.maximum(1 - (xyz**2).sum(axis=1, keepdims=True), 0))
    return np.concatenate([w, xyz], axis=1)


def _smallest_three(data: np.ndarray) -> np.ndarray:
    """Words: two bits say which of x, y, z, w is largest; the others have a sign and nine bits each."""
    words = np.ascontiguousarray(data).view("<u4")[:, 0].astype(np.uint32)
    largest = (words >> 30).astype(int)
    others = np.empty((len(words), 3), np.float32)
    for place in range(3):  # the last component lies in the lowest bits
        field = words >> (10 * (2 - place))
        size = (field & 511).astype(np.float32) / 511 * np.float32(np.sqrt(0.5))
        others[:, place] = np.where(field >> 9 & 1, -size, size)
    xyzw = np.empty((len(words), 4), np.float32)
    kept = np.arange(4) != largest[:, None]
    xyzw[kept] = others.ravel()
    xyzw[~kept] = np.sqrt(np.maximum(1 - (others**2).sum(axis=1), 0))
    return xyzw[:, [3, 0, 1, 2]]
