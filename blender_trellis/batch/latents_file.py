"""NAME.latents.safetensors: what an asset was decoded from, as the backend's commands write and read it too.

The safetensors format (a length, a JSON header, the numbers) is written out here because Blender's Python has
no library for it. C channels · r and R cells a side · L voxels.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..faults import Fault
from ..scene.asset import StoredLatents
from ..scene.export import LATENTS, atomic

SUFFIX = LATENTS
LARGEST_FILE = 1 << 30
_GIVE = f"give the {SUFFIX} file that lies beside"
_FORMAT = "1"
_KINDS = {"F32": "<f4", "I32": "<i4", "U8": "|u1"}
_AXES = {"structure_latent": ("F32", 4), "occupied": ("U8", 1), "coords": ("I32", 2), "feats": ("F32", 2)}
"""Of every array its kind and axes in messages; the file has one more of the first, of length 1."""
_LAYERS = {
    "source": ("U8", 2),
    "layer_sizes": ("I32", 1),
    "layer_coords": ("I32", 2),
    "layer_feats": ("F32", 2),
}
_OUTLINES = {"outline_alpha": ("U8", 3), "outline_view": ("F32", 2)}
_SOLID = {"within": ("U8", 1)}
"""What edited assets, and those with their picture's outline, have besides."""


def write_latents(path: Path, latents: StoredLatents, matrix: np.ndarray | None = None) -> None:
    """Writes the file, which appears whole or not at all. Raises Fault.

    matrix (4, 4): takes the asset into the world, where it was made of a mesh that stands there.
    """
    header: dict[str, Any] = {
        "__metadata__": {
            "format": _FORMAT,
            "resolution": str(latents.resolution),
            "structure_resolution": str(latents.structure_resolution),
            "model": latents.model,
            "model_hash": latents.model_hash,
        }
    }
    if matrix is not None:
        header["__metadata__"]["matrix"] = json.dumps(matrix.tolist())
    pieces, end = [], 0
    for name, (kind, _) in (_AXES | _LAYERS | _OUTLINES | _SOLID).items():
        if name not in latents.arrays:
            continue
        array = np.ascontiguousarray(latents.arrays[name], _KINDS[kind])
        shape = [1, *array.shape] if name == "structure_latent" else list(array.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + array.nbytes]}
        pieces.append(array.tobytes())
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of their size
    with atomic(path) as part:
        part.write_bytes(b"".join((len(text).to_bytes(8, "little"), text, *pieces)))


def read_latents(path: Path) -> StoredLatents:
    """Reads the file. Fault where it is missing or something else."""
    try:
        if path.exists() and not path.is_file():
            raise Fault(f'"{path}" is no file: {_GIVE} an asset.')
        if path.stat().st_size > LARGEST_FILE:
            raise Fault(f'"{path}" is larger than {LARGEST_FILE >> 20} MB and so no asset\'s latents.')
        data = path.read_bytes()
    except OSError as error:
        raise Fault(f'The asset "{path}" cannot be read ({error.strerror}): {_GIVE} one.') from error
    try:
        return _parse(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Fault(
            f'"{path}" does not hold the latents of an asset: {_GIVE} one, or generate it again.'
        ) from error


def matrix_of(path: Path) -> np.ndarray | None:
    """The matrix that `write_latents` was given; None of any other file."""
    if not path.name.endswith(SUFFIX):
        return None
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        matrix = np.array(json.loads(header["__metadata__"]["matrix"]), np.float64)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError, RecursionError):
        return None
    return matrix if matrix.shape == (4, 4) and np.isfinite(matrix).all() else None


def _parse(data: bytes) -> StoredLatents:
    """Raises ValueError, KeyError, TypeError, AttributeError or RecursionError for what is no such file."""
    start = 8 + int.from_bytes(data[:8], "little")
    if not 8 < start <= len(data):
        raise ValueError("no safetensors file")
    header = json.loads(data[8:start])
    about = header["__metadata__"]
    if about["format"] != _FORMAT:
        raise ValueError("another version")
    wanted = _AXES | (_LAYERS if "source" in header else {})
    wanted |= _OUTLINES if "outline_alpha" in header else {}
    wanted |= _SOLID if "within" in header else {}
    arrays = {name: _array(data[start:], header[name], *said) for name, said in wanted.items()}
    latents = StoredLatents(
        arrays,
        int(about["resolution"]),
        int(about["structure_resolution"]),
        about["model"],
        about["model_hash"],
    )
    _check(latents)
    return latents


def _array(data: bytes, said: dict[str, Any], kind: str, axes: int) -> np.ndarray:
    shape, (begin, end) = said["shape"], said["data_offsets"]
    if said["dtype"] != kind or not 0 <= begin <= end <= len(data) or min(shape) < 1:
        raise ValueError("an array is of another kind")
    if end - begin != math.prod(shape) * np.dtype(_KINDS[kind]).itemsize:
        raise ValueError("an array is cut off")
    array = np.frombuffer(data[begin:end], _KINDS[kind]).reshape(shape)
    array = array[0] if len(shape) == axes + 1 and shape[0] == 1 else array
    if array.ndim != axes or not np.isfinite(array).all():
        raise ValueError("an array is damaged")
    return array


def _check(latents: StoredLatents) -> None:
    arrays, side = latents.arrays, latents.resolution
    coords = arrays["coords"]
    fits = coords.shape == (len(arrays["feats"]), 3) and coords.min() >= 0 and coords.max() < side <= 4096
    if not fits or len(arrays["occupied"]) != (latents.structure_resolution**3 + 7) // 8:
        raise ValueError("the arrays do not fit each other")
    if "within" in arrays and len(arrays["within"]) != (side**3 + 7) // 8:
        raise ValueError("the solid has another size")
