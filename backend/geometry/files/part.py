"""The meshes of a file as its reader hands them on. V vertices · F faces · P places on faces."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.files import check_ordinary
from backend.geometry.files.texture import Texture

GREY = (102, 102, 102)
"""Of what has no colours."""
LARGEST_FILE = 2 << 30
"""Of a mesh, in bytes: readers hold several times as much in memory."""

At = Callable[[np.ndarray], np.ndarray]
"""Takes values (V, C) of a mesh's vertices to places on its faces, (P, C)."""


@dataclass(frozen=True)
class Part:
    """vertices (V, 3) f64, in the file's own axes · faces (F, 3) · uv (V, 2), origin in the lower left
    corner, None without · colors: u8 sRGB (P, 3), at the places to which it is given the way.

    textured: a face may have other colours inside than at its corners. see_through: its material has an
    alpha, which colours do not tell.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None
    colors: Callable[[At], np.ndarray]
    textured: bool = False
    see_through: bool = False


@dataclass(frozen=True)
class StoredColors:
    """Colours of a format that has them sRGB-encoded: of the texture at uv (V, 2), else those painted on the
    vertices, (V, 3) u8, else plain.
    """

    vertices: int
    uv: np.ndarray | None = None
    texture: Texture | None = None
    painted: np.ndarray | None = None
    plain: tuple[int, ...] = GREY

    def __call__(self, at: At) -> np.ndarray:
        """(P, 3) u8 at places."""
        if self.texture is not None and self.uv is not None:
            return self.texture.colors(from_above(at(self.uv)))
        if self.painted is not None:
            return np.rint(at(self.painted.astype(np.float64))).astype(np.uint8)
        return np.tile(np.array(self.plain, np.uint8), (len(at(np.zeros((self.vertices, 1)))), 1))

    def part(self, vertices: np.ndarray, faces: np.ndarray) -> Part:
        """The mesh that has these colours."""
        shown = self.texture is not None and self.uv is not None
        varied = shown and self.texture.varies(self.uv[faces])  # type: ignore[union-attr, index]
        return Part(vertices, faces, self.uv, self, varied)


def from_above(uv: np.ndarray) -> np.ndarray:
    """Coordinates (P, 2) counted from the image's other border, upper or lower."""
    return np.array([0.0, 1.0]) + uv * (1.0, -1.0)


def split_vertices(*numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One vertex for all corners that agree in both numbers (F, 3): which corner is the first of each (V,),
    and faces (F, 3).
    """
    place, more = (one.reshape(-1).astype(np.int64) for one in numbers)
    keys = place * (more.max(initial=0) + 2) + more + 1
    _, first, faces = np.unique(keys, return_index=True, return_inverse=True)
    return first, faces.reshape(-1, 3)


def text_of(data: bytes) -> str:
    """UTF-8, or else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_beside(path: Path, name: str) -> bytes:
    """The file that another names: in its folder or below, where it is not there one of that name beside it.

    Raises FileNotFoundError, and UserError for one that is too large.
    """
    folder = path.parent.resolve()
    name = name.strip().replace("\\", "/")
    for one in (name.lstrip("/"), name.rsplit("/", 1)[-1]):
        found = (folder / one).resolve()
        if found.is_relative_to(folder) and found.is_file():
            check_ordinary(found, LARGEST_FILE)
            return found.read_bytes()
    raise FileNotFoundError(f"{name} is not there")
