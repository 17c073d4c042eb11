"""Texture coordinates for a mesh without any, by xatlas: charts of little stretch, packed into a square.

V vertices · F faces · W vertices after cutting along the seams.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from backend.errors import UserError
from backend.machine.child import in_child

if TYPE_CHECKING:
    import xatlas

MOST_FACES = 500_000
# The time that charts take grows faster than the faces of a piece, and small pieces add seams: most faces of
# one, of a mesh of many faces and of others.
_PIECE, _PIECE_OF_FEW = 800, 1500
_STRETCHED = 1.25  # from here on a texture is visibly sharper along one side than along the other
# Charts leave large gaps where they are not packed with care. So that this takes seconds, it is done on a
# grid of about 1.5 times so many cells a side, and not for more charts than the finest finished mesh has.
_MOST_CHARTS, _CAREFUL_SIZES = 4000, (640, 600)  # the second for what the first happens to stretch
_WELL_USED = 0.6  # share of the texture, from which on no other way is tried
_SMALLEST = 1e-45  # the least number of single precision
# From so many faces on, charts take about a second, in which xatlas lets nothing else run in its process.
_MANY_FACES = 4_000


@dataclass(frozen=True)
class Unwrapped:
    """origin (W,) i64 the vertex each one is a copy of · faces (F, 3) i64, in the order of the mesh's ·
    uv (W, 2) f32 in [0, 1], origin in the lower left corner.
    """

    origin: np.ndarray
    faces: np.ndarray
    uv: np.ndarray


def unwrap(
    vertices: np.ndarray,
    faces: np.ndarray,
    size: int,
    padding: int,
    wait: Callable[[], None] = lambda: None,
) -> Unwrapped:
    """Charts of a mesh (V, 3), (F, 3) in a texture of `size` texels a side, about `padding` apart.

    Faces without area get a place as well. `wait` is called again and again and may raise to stop. Raises
    UserError for more than MOST_FACES faces.
    """
    if len(faces) > MOST_FACES:
        raise UserError(
            f"The mesh has {len(faces):,} faces, too many to unwrap; "
            f"simplify it to at most {MOST_FACES:,} first."
        )
    _library()
    if len(faces) < _MANY_FACES:
        return Unwrapped(*charted(vertices, faces, size, padding))
    options = {"size": size, "padding": padding}
    return Unwrapped(*in_child(f"{__name__}:{charted.__name__}", (vertices, faces), options, wait))


def charted(
    vertices: np.ndarray, faces: np.ndarray, size: int, padding: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origin (W,), faces (F, 3) and uv (W, 2) as Unwrapped has them."""
    xatlas = _library()
    atlas = xatlas.Atlas()
    corners = vertices[faces].astype(np.float64)
    most = _PIECE if len(faces) >= _MANY_FACES else _PIECE_OF_FEW
    pieces = _pieces(corners.mean(axis=1), np.arange(len(faces)), math.ceil(len(faces) / most))
    size_of_mesh = max(float(np.ptp(corners.reshape(-1, 3), axis=0).max()), _SMALLEST)
    origins = []
    for piece in pieces:
        used, local = np.unique(faces[piece], return_inverse=True)
        origins.append(used)
        places = (vertices[used] / size_of_mesh).astype(np.float32)
        atlas.add_mesh(places, local.reshape(-1, 3).astype(np.uint32))
    atlas.generate(xatlas.ChartOptions(), _options(min(_CAREFUL_SIZES[0], size), size, padding))
    packed = _packed_well(atlas, size, padding)
    parts = [packed.get_mesh(number) for number in range(len(pieces))]
    origins = [used[atlas.get_mesh(number)[0]][parts[number][0]] for number, used in enumerate(origins)]
    joined, start = np.zeros((len(faces), 3), np.int64), 0
    for piece, (copies, triangles, _) in zip(pieces, parts, strict=True):
        joined[piece] = triangles.astype(np.int64) + start
        start += len(copies)
    # The atlas is almost square; each of its sides fills one of the texture. xatlas cannot place charts where
    # no face has an area.
    uv = np.nan_to_num(np.concatenate([part[2] for part in parts])).clip(0, 1).astype(np.float32)
    return np.concatenate(origins).astype(np.int64), joined, uv


def whole(faces: np.ndarray, uv: np.ndarray) -> Unwrapped:
    """An artist's own coordinates, one (F, 3, 2) a corner: corners of a vertex that agree stay one vertex.

    Raises UserError where they are no numbers or lie outside of the texture.
    """
    if uv.shape != (*faces.shape, 2):
        raise UserError(
            "The texture coordinates do not belong to the mesh's faces; unwrap it again or leave them out."
        )
    if not (np.isfinite(uv).all() and uv.min() >= -1e-4 and uv.max() <= 1 + 1e-4):
        raise UserError(
            "Some texture coordinates lie outside the texture; move all of them into its square, from 0 to 1."
        )
    rows = np.concatenate([faces.reshape(-1, 1), np.rint(uv.reshape(-1, 2) * 2**20).astype(np.int64)], axis=1)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    clipped = uv.reshape(-1, 2)[first].clip(0, 1).astype(np.float32)
    return Unwrapped(faces.reshape(-1)[first].astype(np.int64), inverse.reshape(-1, 3), clipped)


def _pieces(centres: np.ndarray, faces: np.ndarray, count: int) -> list[np.ndarray]:
    """Faces cut across their longest extent, again and again, into pieces of like size."""
    if count <= 1:
        return [faces]
    part = centres[faces]
    axis = int(np.argmax(part.max(axis=0) - part.min(axis=0)))
    ordered = faces[np.argsort(part[:, axis], kind="stable")]
    fewer = count // 2
    cut = len(ordered) * fewer // count
    return _pieces(centres, ordered[:cut], fewer) + _pieces(centres, ordered[cut:], count - fewer)


def _library() -> ModuleType:
    """xatlas, for which there is no ready package on every kind of machine."""
    try:
        return importlib.import_module("xatlas")
    except ImportError as error:
        raise UserError(
            "Unwrapping a mesh needs the package xatlas; install it into the backend's Python."
        ) from error


def _packed_well(atlas: "xatlas.Atlas", size: int, padding: int) -> "xatlas.Atlas":
    """The charts of an atlas once more, where they leave little of the texture unused."""
    careful = _CAREFUL_SIZES if atlas.chart_count <= _MOST_CHARTS else ()
    ways = [_options(min(cells, size), size, padding, careful=True) for cells in careful]
    best, most = atlas, -1.0
    for options in (*ways, _options(size, size, padding)):
        packed = _packed(atlas, options)
        use = _use(packed)
        if use > most:
            best, most = packed, use
        if most >= _WELL_USED:
            break
    return best


def _packed(atlas: "xatlas.Atlas", options: "xatlas.PackOptions") -> "xatlas.Atlas":
    xatlas = _library()
    packed, shape = xatlas.Atlas(), np.array([atlas.width, atlas.height])
    # All are held: arrays of one size at one address are one mesh to xatlas, and freed memory is used again.
    parts = [atlas.get_mesh(number)[1:] for number in range(len(atlas))]
    given = [((uv * shape).astype(np.float32), np.ascontiguousarray(faces)) for faces, uv in parts]
    for uv, faces in given:
        packed.add_uv_mesh(uv, faces)
    packed.generate(xatlas.ChartOptions(), options)
    return packed


def _options(cells: int, size: int, padding: int, careful: bool = False) -> "xatlas.PackOptions":
    """Packing on a grid of about so many cells a side; `careful`: every place is tried for each chart."""
    options = _library().PackOptions()
    options.resolution, options.bilinear, options.bruteForce = cells, False, careful
    # What comes out of a careful one is larger by a half.
    options.padding = math.ceil(padding * (1.5 if careful else 1) * cells / size)
    return options


def _use(atlas: "xatlas.Atlas") -> float:
    """The share of the texture that charts cover, less where they are stretched so that it shows."""
    if atlas.atlas_count != 1:
        return 0.0
    short, long = sorted((atlas.width, atlas.height))
    stretch = long / max(short, 1)
    parts = (atlas.get_mesh(number) for number in range(len(atlas)))
    corners = np.concatenate([uv[triangles] for _, triangles, uv in parts]).astype(np.float64)
    a, b = np.diff(corners, axis=1).swapaxes(0, 1)
    covered = float(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / 2
    return covered / (stretch if stretch > _STRETCHED else 1)
