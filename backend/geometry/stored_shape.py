"""What is slow to find out about an object in a view, kept: its voxels, and which face is nearest to every
grid corner close to its surface.

Signed distances, nearest colours, normals and points all follow from the nearest face in microseconds, so one
record serves every loss and every colouring of the object. Corners are numbered in C order; a grid of n cells
has n + 1 corners a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

import numpy as np
from numba import njit

from backend.geometry.surface import DistanceField, closest_point, distance_field
from backend.geometry.views import Light, View
from backend.geometry.voxelize import sampled_occupancy

_NO_LIGHT = Light((0.0, 0.0, 1.0), 1.0, 0.0)


@dataclass(frozen=True)
class NearestFaces:
    """One grid: near, inside (n³ / 8,) u8 packed bits · face (N,) of the near corners · band in cells."""

    cells: int
    band: float
    near: np.ndarray
    inside: np.ndarray
    face: np.ndarray

    def field(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        mirror: bool,
        box: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> DistanceField:
        """What `distance_field` returns for the same mesh, or for its mirror image in X."""
        size = self.cells + 1
        low, high = box if box is not None else (np.zeros(3, np.int64), np.full(3, self.cells, np.int64))
        grid = (vertices + 0.5) * self.cells
        distance, face = _unpack(self.near, self.face, grid, faces, size, self.band, low, high, mirror)
        inside = np.unpackbits(self.inside, count=size**3).reshape(size, size, size).astype(bool)
        inside = inside[::-1] if mirror else inside
        return DistanceField(np.where(inside, -distance, distance), face)


@dataclass(frozen=True)
class StoredShape:
    """occupied (R³ / 8,) u8 packed bits at `resolution` · grids by their cells · the unmirrored view,
    unlit.
    """

    view: View
    resolution: int
    occupied: np.ndarray
    grids: dict[int, NearestFaces]

    def occupancy(self, mirror: bool) -> np.ndarray:
        """(R, R, R) bool."""
        r = self.resolution
        occupied = np.unpackbits(self.occupied, count=r**3).reshape(r, r, r).astype(bool)
        return np.ascontiguousarray(occupied[::-1]) if mirror else occupied


def measure_shape(
    view: View, vertices: np.ndarray, faces: np.ndarray, resolution: int, bands: dict[int, float]
) -> StoredShape:
    """From the mesh in the model's frame; `bands` gives for each grid's cells how far faces are looked
    for.
    """
    grids = {}
    for cells, band in bands.items():
        field = distance_field(vertices, faces, cells, band)
        near = field.face >= 0
        face = field.face[near].astype(np.uint16 if len(faces) < 2**16 else np.int32)
        inside = np.signbit(field.distance)
        grids[cells] = NearestFaces(cells, band, np.packbits(near), np.packbits(inside), face)
    return StoredShape(view, resolution, np.packbits(sampled_occupancy(vertices, faces, resolution)), grids)


def write_shape(file: IO[bytes], shape: StoredShape) -> None:
    """As a compressed npz file."""
    view = shape.view
    arrays = {
        "view": np.array([view.azimuth, view.elevation, view.fov, view.distance]),
        "resolution": np.array(shape.resolution),
        "occupied": shape.occupied,
    }
    for cells, grid in shape.grids.items():
        arrays[f"band_{cells}"] = np.array(grid.band)
        arrays |= {f"near_{cells}": grid.near, f"inside_{cells}": grid.inside, f"face_{cells}": grid.face}
    np.savez_compressed(file, allow_pickle=False, **arrays)


def read_shape(file: IO[bytes]) -> StoredShape:
    """The reverse of `write_shape`."""
    with np.load(file, allow_pickle=False) as data:
        grids = {}
        for name in data.files:
            if name.startswith("band_"):
                c = name.removeprefix("band_")
                parts = data[f"near_{c}"], data[f"inside_{c}"], data[f"face_{c}"]
                grids[int(c)] = NearestFaces(int(c), float(data[name]), *parts)
        azimuth, elevation, fov, distance = data["view"].tolist()
        view = View(azimuth, elevation, fov, distance, _NO_LIGHT)
        return StoredShape(view, int(data["resolution"]), data["occupied"], grids)


@njit(nogil=True, cache=True)
def _unpack(near, near_face, grid, faces, size, band, low, high, mirror):
    """Distance (n, n, n) and face of the near corners within the box; ±band and −1 elsewhere."""
    distance = np.full((size, size, size), np.sqrt(np.float32(band * band)), np.float32)
    face = np.full((size, size, size), -1, np.int32)
    p = np.zeros(3)
    count = 0
    for byte in range(near.shape[0]):
        if near[byte] == 0:
            continue
        for bit in range(8):
            if not near[byte] >> (7 - bit) & 1:
                continue
            f = near_face[count]
            count += 1
            corner = byte * 8 + bit
            i, j, k = corner // (size * size), corner // size % size, corner % size
            if mirror:
                i = size - 1 - i
            outside = i < low[0] or j < low[1] or k < low[2]
            if outside or i > high[0] or j > high[1] or k > high[2]:
                continue
            p[0], p[1], p[2] = i, j, k
            d = closest_point(p, grid[faces[f, 0]], grid[faces[f, 1]], grid[faces[f, 2]])[0]
            distance[i, j, k] = np.sqrt(np.float32(d))
            face[i, j, k] = f
    return distance, face
