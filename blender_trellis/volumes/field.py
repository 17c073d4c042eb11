"""A radiance field: boxes of a grid, in each of which products of three vectors give density and colour.

L boxes · r rank · d samples of each vector · R boxes along a side of the unit cube.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..faults import Fault
from ..ordinary_file import check_ordinary

SUFFIX = ".radiance_field.safetensors"
_SH_C0 = 0.28209479177387814
_AXES = {"position": 2, "trivec": 4, "density": 2, "features_dc": 4}
_FINEST = 1024
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class Field:
    """coords i64 (L, 3) within [0, R) · trivec (L, r, 3, d) · density (L, r) · features (L, r, 3)."""

    coords: np.ndarray
    resolution: int
    trivec: np.ndarray
    density: np.ndarray
    features: np.ndarray

    @property
    def samples(self) -> int:
        """d, of each box along each axis."""
        return self.trivec.shape[3]

    def sampled(self, box: int) -> tuple[np.ndarray, np.ndarray]:
        """Density (d, d, d) per unit length and colour (d, d, d, 3), sRGB in [0, 1], at a box's samples."""
        x, y, z = self.trivec[box].astype(np.float64).transpose(1, 0, 2)
        products = np.einsum("ri,rj,rk->rijk", x, y, z).reshape(len(x), -1)
        side = (self.samples,) * 3
        density = np.logaddexp(0, self.density[box] @ products).reshape(side)
        color = 1 / (1 + np.exp(-_SH_C0 * (products.T @ self.features[box])))
        return density, color.reshape(*side, 3)


def read_field(path: Path) -> Field:
    """The field in a file that the engine wrote. Raises Fault where it holds none, OSError."""
    arrays = _arrays(path)
    rows = {len(array) for array in arrays.values()}
    trivec, density, features = (arrays[name] for name in ("trivec", "density", "features_dc"))
    if (
        len(rows) != 1
        or not min(array.size for array in arrays.values())
        or arrays["position"].shape[1] != 3
        or trivec.shape[1:3] != (density.shape[1], 3)
        or features.shape[1:] != (density.shape[1], 1, 3)
    ):
        raise _no_field(path)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise Fault(f'"{path}" holds values that are not finite: make the radiance field again.')
    coords, resolution = _grid(path, arrays["position"])
    return Field(coords, resolution, trivec, density, features[:, :, 0])


def _grid(path: Path, position: np.ndarray) -> tuple[np.ndarray, int]:
    """Where the boxes with these centres, in [0, 1], lie in which grid."""
    resolution = 1
    while resolution <= _FINEST:
        places = position.astype(np.float64) * resolution - 0.5
        coords = np.rint(places).astype(np.int64)
        if np.abs(places - coords).max() < 1e-2 and coords.min() >= 0 and coords.max() < resolution:
            return coords, resolution
        resolution *= 2
    raise _no_field(path)


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The file's arrays f32: a length, names with places as JSON, numbers."""
    check_ordinary(path)
    data = path.read_bytes()
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > _LONGEST_HEADER:
            raise ValueError(length)
        header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
        arrays = {}
        for name, axes in _AXES.items():
            start, end = header[name]["data_offsets"]
            shape = header[name]["shape"]
            if header[name]["dtype"] != "F32" or len(shape) != axes:
                raise ValueError(name)
            arrays[name] = np.frombuffer(body[start:end], "<f4").reshape(shape)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise _no_field(path) from error
    return arrays


def _no_field(path: Path) -> Fault:
    return Fault(
        f'"{path}" holds no radiance field: choose a file NAME{SUFFIX} as `backend generate --formats '
        "radiance_field` writes it."
    )
