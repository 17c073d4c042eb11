"""What the latent encoder of a view-aligned model reads of an object: distances and colours round its voxels.

L voxels · R resolution · n = 2R + 1 corners a side.
"""

from __future__ import annotations

import numpy as np

from backend.geometry.scene import Scene, surface_field
from backend.geometry.surface import DistanceField, nearest_colors
from backend.lifting.surface import COARSE_CELLS, THICKENING


def voxel_features(scene: Scene, coords: np.ndarray, resolution: int) -> np.ndarray:
    """The encoder's input (L, FEATURES) f32: distance and centred colour at the 3³ corners in and around each
    voxel.
    """
    distance, colors = _coarse_field(scene, coords, resolution)
    offsets = np.stack(np.meshgrid(*[np.arange(COARSE_CELLS + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = coords[:, None] * COARSE_CELLS + offsets
    index = tuple(np.moveaxis(places, -1, 0))
    near = np.abs(distance[index]) < 0.999
    tints = (colors[index] * 2 - 1) * near[..., None]
    return np.concatenate([distance[index], tints.reshape(len(coords), -1)], axis=1).astype(np.float32)


def _coarse_field(scene: Scene, coords: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance in voxels, clipped to ±1, and colour at (2R + 1)³ corners: (n, n, n) and (n, n, n, 3).

    Only what lies round the voxels coords (L, 3) is looked at.
    """
    cells = COARSE_CELLS * resolution
    box = coords.min(axis=0) * COARSE_CELLS, (coords.max(axis=0) + 1) * COARSE_CELLS
    field = surface_field(scene, cells, COARSE_CELLS + 0.5, box)
    return voxel_distance(field.distance, COARSE_CELLS, resolution), _corner_colors(scene, field, cells)


def voxel_distance(distance: np.ndarray, cells_per_voxel: int, resolution: int) -> np.ndarray:
    """Distance in cells -> distance to the thickened surface in voxels, clipped to ±1, f32."""
    return np.clip(distance / cells_per_voxel - THICKENING * resolution, -1, 1).astype(np.float32)


def _corner_colors(scene: Scene, field: DistanceField, cells: int) -> np.ndarray:
    """(n, n, n, 3) f32 in [0, 1]; grey beyond the band."""
    colors = np.full((*field.face.shape, 3), 0.5, np.float32)
    near = np.argwhere(field.face >= 0)
    index = tuple(near.T)
    colors[index] = nearest_colors(
        near, field.face[index], scene.vertices, scene.faces, scene.corner_colors, cells
    )
    return colors
