"""What an edit has left alone keeps the texture that it had.

V vertices · P texels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from backend.representations.mesh import TexturedMesh
from backend.texturing.texels import Texels, texels_of

_NEAR = 0.01  # of the unit cube: how far the former surface may lie from what is to look like it
_BLENDED = 6  # vertices that decide together, so that the border is soft
_READ = 3  # former texels that a colour is read from


@dataclass(frozen=True)
class Former:
    """The finished mesh before an edit, and of the raw one after it the vertices (V, 3) and whether each was
    kept (V,).
    """

    mesh: TexturedMesh
    vertices: np.ndarray
    kept: np.ndarray


def as_before(colors: np.ndarray, texels: Texels, former: Former) -> np.ndarray:
    """Colours (P, 3) in [0, 1], those of the former texture where the surface was kept."""
    if len(colors) == 0 or not former.kept.any():
        return colors
    _, near = cKDTree(former.vertices).query(texels.position, _BLENDED, workers=-1)
    share = former.kept[np.minimum(near, len(former.kept) - 1)].mean(axis=1)
    chosen = np.flatnonzero(share > 0)
    old = former.mesh
    there = texels_of(
        old.vertices.numpy(),
        old.faces.numpy(),
        old.uv.numpy(),
        len(old.image),
        old.normals.numpy(),
        old.faces.numpy(),
    )
    if len(there.place) == 0 or len(chosen) == 0:
        return colors
    distance, found = cKDTree(there.position).query(texels.position[chosen], _READ, workers=-1)
    found = np.minimum(found, len(there.place) - 1)  # where there are fewer texels than are asked for
    weight = 1 / np.maximum(distance, 1e-6)
    known = old.image.reshape(-1, 3)[there.place[found]] / np.float32(255)
    before = (known * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    trust = (share[chosen] * (distance[:, 0] < _NEAR))[:, None]
    result = colors.copy()
    result[chosen] += (before - colors[chosen]) * trust
    return result
