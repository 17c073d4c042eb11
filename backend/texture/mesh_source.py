"""A mesh file as what a texture is baked onto, in the unit cube, with its own coordinates if wanted.

V vertices · F faces.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import trimesh

from backend.errors import UserError
from backend.geometry.mesh_files import Asset, load_asset
from backend.representations.mesh import Mesh, TexturedMesh


@dataclass(frozen=True)
class MeshSource:
    """mesh in object space · uv (F, 3, 2) of its corners, or None · mesh · size + middle: the file's."""

    mesh: Mesh
    uv: np.ndarray | None
    size: float
    middle: np.ndarray

    def put_back(self, textured: TexturedMesh) -> TexturedMesh:
        """The textured mesh in the file's space."""
        moved = textured.vertices * self.size + torch.from_numpy(self.middle.astype(np.float32))
        return replace(textured, vertices=moved)


def read_mesh(path: Path, own_uv: bool, centred: bool) -> MeshSource:
    """Read a mesh file; `centred` moves it into the unit cube, where pictures are projected.

    Raises UserError where it cannot be read, or has no texture coordinates although its own are wanted.
    """
    asset = load_asset(path)
    low, high = asset.vertices.min(axis=0), asset.vertices.max(axis=0)
    size = max(float((high - low).max()), 1e-9) if centred else 1.0
    middle = (low + high) / 2 if centred else np.zeros(3)
    colors = np.zeros((len(asset.vertices), 3), np.float32)
    colors[asset.faces.reshape(-1)] = asset.corner_colors.reshape(-1, 3) / np.float32(255)
    mesh = Mesh(
        torch.from_numpy(((asset.vertices - middle) / size).astype(np.float32)),
        torch.from_numpy(asset.faces.astype(np.int64)),
        torch.from_numpy(colors),
    )
    return MeshSource(mesh, _own_uv(path, asset) if own_uv else None, size, middle)


def _own_uv(path: Path, asset: Asset) -> np.ndarray:
    """Coordinates (F, 3, 2) of the file, part by part in the order in which its faces were read."""
    parts = [] if path.suffix.lower() == ".npz" else trimesh.load_scene(path, process=False).dump()
    found = []
    for part in parts:
        if not isinstance(part, trimesh.Trimesh):
            continue
        uv = getattr(part.visual, "uv", None)
        if uv is not None:
            found.append(np.asarray(uv, np.float64)[part.faces])
    if sum(map(len, found)) != len(asset.faces):
        raise UserError(
            f"{path.name} has no texture coordinates for all of its faces; unwrap it, or leave --keep-uv out."
        )
    return np.concatenate(found)
