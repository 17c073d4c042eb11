"""The packed .ply of SuperSplat: 16 bytes a splat and a byte for each coefficient of the harmonics.

256 splats in turn share a `chunk`, which holds the least and the most of their positions, log scales and
colours. `vertex` has four words a splat, which say where between them: 11, 10 and 11 bits for x, y and z, a
quaternion of 2 bits for its largest component and 10 for each other one, 8 bits a colour channel and opacity.
"""

from pathlib import Path

import numpy as np

from ..faults import Fault
from . import harmonics
from .quaternions import canonical
from .values import Splats

Tables = dict[str, dict[str, np.ndarray]]

CHUNK = 256
_BITS = (11, 10, 11)
_REST_RANGE = 8.0  # coefficients from -4 to 4
_LEAST_SCALE = -20.0  # log; a splat without thickness would take the steps between its chunk's other widths
_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")


def unpacked(tables: Tables, path: Path) -> Splats:
    """Splats of the file's elements. Raises Fault where they do not fit each other."""
    chunk, vertex = tables["chunk"], tables["vertex"]
    count = len(vertex["packed_position"])
    try:
        words = [vertex[name].astype(np.uint32) for name in _WORDS]
        if len(chunk["min_x"]) * CHUNK < count:
            raise ValueError
        of = np.repeat(np.arange(len(chunk["min_x"])), CHUNK)[:count]
        position = _between(chunk, of, "{}_{}", "xyz", _fractions(words[0], _BITS))
        scale = _between(chunk, of, "{}_scale_{}", "xyz", _fractions(words[2], _BITS))
        color = _fractions(words[3], (8, 8, 8, 8))
        alpha, color = color[:, 3:], color[:, :3]
        if "min_r" in chunk:
            color = _between(chunk, of, "{}_{}", "rgb", color)
    except (ValueError, KeyError) as error:
        raise Fault(f'"{path}" is damaged: its chunks do not fit its splats. Export it again.') from error
    rest = np.zeros((count, 0), np.float32)
    if "sh" in tables:
        columns = list(tables["sh"].values())
        if len(columns) not in (9, 24, 45) or len(columns[0]) != count:
            raise Fault(f'"{path}" is damaged: its harmonics do not fit its splats. Export it again.')
        rest = np.stack(columns, axis=1).astype(np.float32) * (_REST_RANGE / 255) - _REST_RANGE / 2
    return Splats(
        position,
        (color - 0.5) / np.float32(harmonics.DC),
        logit(alpha),
        scale,
        _rotations(words[1]),
        rest.reshape(count, 3, rest.shape[1] // 3),
    )


def write_packed_ply(path: Path, splats: Splats) -> None:
    """Writes the packed layout, the splats in the order of a curve through space so that chunks are small."""
    splats = splats.taken(_along_a_curve(splats.position))
    colors = splats.f_dc * np.float32(harmonics.DC) + 0.5
    parts = [
        (splats.position, "{}_{}", "xyz"),
        (np.maximum(splats.scale, _LEAST_SCALE), "{}_scale_{}", "xyz"),
        (colors, "{}_{}", "rgb"),
    ]
    starts = np.arange(0, len(splats), CHUNK)
    least = [np.minimum.reduceat(part, starts) for part, _, _ in parts]
    most = [np.maximum.reduceat(part, starts) for part, _, _ in parts]
    of = np.arange(len(splats)) // CHUNK
    shares = [
        (part - low[of]) / np.maximum(high - low, 1e-20)[of]
        for (part, _, _), low, high in zip(parts, least, most, strict=True)
    ]
    alpha = 1 / (1 + np.exp(-splats.opacity.astype(np.float64)))
    words = np.stack(
        [
            _word(shares[0], _BITS),
            _rotation_words(splats.rotation),
            _word(shares[1], _BITS),
            _word(np.concatenate([shares[2], alpha], axis=1), (8, 8, 8, 8)),
        ],
        axis=1,
    )
    rows = np.concatenate([part for pair in zip(least, most, strict=True) for part in pair], axis=1)
    header = ["ply", "format binary_little_endian 1.0", f"element chunk {len(rows)}"]
    for _, pattern, axes in parts:
        header += [f"property float {pattern.format(end, axis)}" for end in ("min", "max") for axis in axes]
    header += [f"element vertex {len(splats)}", *(f"property uint {name}" for name in _WORDS)]
    rest = splats.f_rest.reshape(len(splats), 3 * splats.f_rest.shape[2])
    if rest.shape[1]:
        header += [f"element sh {len(rest)}", *(f"property uchar f_rest_{i}" for i in range(rest.shape[1]))]
    with open(path, "wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode("ascii"))
        file.write(rows.astype("<f4").tobytes())
        file.write(words.astype("<u4").tobytes())
        file.write(np.rint(np.clip(rest / _REST_RANGE + 0.5, 0, 1) * 255).astype(np.uint8).tobytes())


def logit(share: np.ndarray) -> np.ndarray:
    """float32, finite at 0 and 1 too."""
    inner = np.clip(share.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(inner / (1 - inner)).astype(np.float32)


def _between(
    chunk: dict[str, np.ndarray], of: np.ndarray, pattern: str, axes: str, share: np.ndarray
) -> np.ndarray:
    low, high = (
        np.stack([chunk[pattern.format(end, axis)] for axis in axes], axis=1).astype(np.float32)[of]
        for end in ("min", "max")
    )
    return low * (1 - share) + high * share


def _fractions(words: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Fields of words, from the top bit down, as parts of their largest value: (N, fields)."""
    shift, columns = 32, []
    for size in bits:
        shift -= size
        columns.append(((words >> shift) & ((1 << size) - 1)).astype(np.float32) / ((1 << size) - 1))
    return np.stack(columns, axis=1)


def _word(shares: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    word = np.zeros(len(shares), np.uint32)
    for column, size in zip(shares.T, bits, strict=True):
        most = (1 << size) - 1
        word = (word << size) | np.rint(np.clip(column, 0, 1) * most).astype(np.uint32)
    return word


def _rotations(words: np.ndarray) -> np.ndarray:
    others = (_fractions(words << 2, (10, 10, 10)) - 0.5) * np.float32(np.sqrt(2))
    largest = np.sqrt(np.maximum(1 - (others**2).sum(axis=1), 0))
    rotation = np.empty((len(words), 4), np.float32)
    places = (words >> 30).astype(int)
    kept = np.arange(4) != places[:, None]
    rotation[kept] = others.ravel()
    rotation[~kept] = largest
    return rotation


def _rotation_words(rotation: np.ndarray) -> np.ndarray:
    unit = canonical(rotation)
    places = unit.argmax(axis=1)
    others = unit[np.arange(4) != places[:, None]].reshape(-1, 3)
    return (places.astype(np.uint32) << 30) | _word(others / np.sqrt(2) + 0.5, (10, 10, 10))


def _along_a_curve(position: np.ndarray) -> np.ndarray:
    """The order of Morton codes of 10 bits an axis."""
    low, high = position.min(axis=0, initial=np.inf), position.max(axis=0, initial=-np.inf)
    grid = ((position - low) / np.maximum(high - low, 1e-20) * 1023).astype(np.uint32)
    code = np.zeros(len(position), np.uint32)
    for bit in range(10):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")
