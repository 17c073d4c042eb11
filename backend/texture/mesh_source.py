"""A mesh file as what a texture is baked onto, in the unit cube, with its own coordinates if wanted.

V vertices · F faces · P places on faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from backend.errors import UserError
from backend.geometry.files.part import At, Part
from backend.geometry.mesh_files import Asset, load_with_parts
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh
from backend.texturing.splat_views import moved
from backend.texturing.texture import SurfaceColors

_SMALLEST = 1e-45  # the least number of single precision
_OPAQUE = "The mesh has see-through materials; in its new texture they are opaque."


@dataclass(frozen=True)
class MeshSource:
    """mesh in object space · uv (F, 3, 2) of its corners, or None · colors of its own textures, or None ·
    mesh · size + middle + origin: the file's · remarks: sentences on what was left out.
    """

    mesh: Mesh
    uv: np.ndarray | None
    colors: SurfaceColors | None
    size: float
    middle: np.ndarray
    origin: tuple[float, float, float]
    remarks: tuple[str, ...] = ()

    def taken_in(self, gaussians: Gaussians) -> Gaussians:
        """Gaussians of the file's space where the mesh is."""
        return moved(gaussians, self.middle + self.origin, self.size)

    def put_back(self, textured: TexturedMesh) -> TexturedMesh:
        """The textured mesh in the file's space, relative to the origin."""
        moved = textured.vertices.double() * self.size + torch.from_numpy(self.middle)
        return replace(textured, vertices=moved.float())


def read_mesh(path: Path, own_uv: bool) -> MeshSource:
    """Read a mesh file and move it into the unit cube, where pictures are projected.

    Raises UserError where it cannot be read, or has no texture coordinates although its own are wanted.
    """
    asset, parts = load_with_parts(path)
    # One vertex a place, though a file has several where its texture is cut: no edge is sharp for that. Those
    # without a face say nothing of where the object is.
    used, faces = np.unique(asset.faces, return_inverse=True)
    vertices, place = np.unique(asset.vertices[used], axis=0, return_inverse=True)
    faces, vertices = place.reshape(-1)[faces].reshape(-1, 3), vertices.astype(np.float64)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    size = max(float((high - low).max()), _SMALLEST)
    middle = (low + high) / 2
    shown = asset.corner_colors.reshape(-1, 3) / 255
    uses = np.bincount(faces.reshape(-1), minlength=len(vertices))
    means = [np.bincount(faces.reshape(-1), one, len(vertices)) / uses for one in shown.T]
    colors = np.stack(means, axis=1).astype(np.float32)
    mesh = Mesh(
        torch.from_numpy(((vertices - middle) / size).astype(np.float32)),
        torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(colors),
    )
    uv = _own_uv(path, asset, parts) if own_uv else None
    remarks = (_OPAQUE,) if any(part.see_through for part in parts) else ()
    return MeshSource(mesh, uv, _OwnColors(parts) if parts else None, size, middle, asset.origin, remarks)


def _own_uv(path: Path, asset: Asset, parts: Sequence[Part]) -> np.ndarray:
    """Coordinates (F, 3, 2) of the file, part by part in the order in which its faces were read."""
    found = [np.asarray(part.uv, np.float64)[part.faces] for part in parts if part.uv is not None]
    if sum(map(len, found)) != len(asset.faces):
        raise UserError(
            f"{path.name} has no texture coordinates for all of its faces; unwrap it, or leave --keep-uv out."
        )
    return np.concatenate(found)


@dataclass(frozen=True)
class _OwnColors:
    """The colours of a file's meshes, whose faces are numbered on from one to the next."""

    parts: Sequence[Part]

    def __call__(self, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        colors = np.empty((len(face), 3), np.float32)
        order = np.argsort(face, kind="stable")
        starts = np.cumsum([0, *(len(part.faces) for part in self.parts)])
        ends = np.searchsorted(face[order], starts)
        for part, start, first, last in zip(self.parts, starts, ends, ends[1:], strict=False):
            here = order[first:last]
            if len(here):
                at = _between(part.faces[face[here] - start], weights[here])
                colors[here] = part.colors(at) / np.float32(255)
        return colors


def _between(corners: np.ndarray, weights: np.ndarray) -> At:
    """The way from vertices' values to places between three of them, (P, 3), with weights (P, 3)."""
    return lambda values: np.einsum("pkc,pk->pc", values[corners], weights)
