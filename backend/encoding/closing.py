"""Closes the cut that removing a region leaves: a layer of the filled solid along the region's border.

The layer lies inside the region, so that nothing outside of it has to change.
L voxels · S³ grid of the structured latent · R³ cells of a finer one · C channels.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor, from_numpy

from backend.encoding.latent_encoders import LatentEncoder
from backend.geometry.scene import pooled_occupancy
from backend.geometry.surface import distance_field
from backend.geometry.voxelize import sampled_occupancy
from backend.lifting.surface import COARSE_CELLS
from backend.representations.mesh import Mesh

_ALL_ROUND = np.ones((3, 3, 3), bool)
_BAND = COARSE_CELLS + 0.5
_LID = 0.75  # voxels within the region to where the solid stays
_NEAREST = 6  # vertices whose mean colour a corner of the layer takes


def voxel_solid(surface: np.ndarray) -> np.ndarray:
    """Voxels (R, R, R) and what they enclose, however small the holes between them."""
    padded = np.pad(surface, 2)
    filled = ndimage.binary_fill_holes(ndimage.binary_dilation(padded))
    return (surface | ndimage.binary_erosion(filled)[2:-2, 2:-2, 2:-2]).astype(bool)


def mesh_solid(mesh: Mesh, resolution: int) -> np.ndarray:
    """Voxels (S, S, S) on a decoded mesh or enclosed by it."""
    return pooled_occupancy(_solid_cells(mesh, COARSE_CELLS * resolution), resolution)


def closing_layer(solid: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Which voxels (S, S, S) of the region stay as a lid: those of the solid next to what stays of it."""
    return solid & region & ndimage.binary_dilation(solid & ~region, _ALL_ROUND)


def layer_latents(encoder: LatentEncoder, mesh: Mesh, coords: np.ndarray, region: np.ndarray) -> Tensor:
    """De-normalised latents (L, C), on voxels coords (L, 3), of an asset that is solid and cut off just
    within the region (S, S, S): from the mesh that it decodes to.
    """
    vertices = mesh.vertices.cpu().double().numpy()
    colors = np.full(vertices.shape, 0.5) if mesh.colors is None else mesh.colors.cpu().numpy()
    distance = _cut(mesh, region)
    steps = np.stack(np.meshgrid(*[np.arange(COARSE_CELLS + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    corners = coords[:, None] * COARSE_CELLS + steps
    index = tuple(np.moveaxis(corners, -1, 0))
    points = corners / (len(distance) - 1) - 0.5
    _, nearest = cKDTree(vertices).query(points.reshape(-1, 3), k=min(_NEAREST, len(vertices)))
    tints = colors[nearest].reshape(*corners.shape[:2], -1, 3).mean(axis=2) * 2 - 1
    tints = tints * (np.abs(distance[index]) < 0.999)[..., None]
    features = np.concatenate([distance[index], tints.reshape(len(coords), -1)], axis=1)
    return encoder(coords, from_numpy(features.astype(np.float32))) * encoder.std + encoder.mean


def _solid_cells(mesh: Mesh, cells: int) -> np.ndarray:
    return voxel_solid(
        sampled_occupancy(mesh.vertices.cpu().double().numpy(), mesh.faces.cpu().numpy(), cells)
    )


def _cut(mesh: Mesh, region: np.ndarray) -> np.ndarray:
    """Distance in voxels at (2S + 1)³ corners, clipped to ±1: the filled solid without what lies deep in the
    region. It is a half space below the lid: thin sheets come out of the encoder full of holes.

    The mesh is already as thick as the decoder makes surfaces, so nothing is added to it here.
    """
    cells = COARSE_CELLS * len(region)
    vertices, faces = mesh.vertices.cpu().double().numpy(), mesh.faces.cpu().numpy()
    away = np.abs(distance_field(vertices, faces, cells, _BAND).distance)
    solid = _within(_solid_cells(mesh, cells))
    # Deeper in, surfaces of the hollow do not count.
    distance = np.where(solid, -np.maximum(away, _depth(solid) - 1), away)
    inner = region
    for axis in range(3):
        inner = inner.repeat(COARSE_CELLS, axis=axis)
    depth = _depth(_within(inner)) - _LID * COARSE_CELLS
    return np.clip(np.maximum(distance, depth) / COARSE_CELLS, -1, 1)


def _depth(inside: np.ndarray) -> np.ndarray:
    """How many cells deep corners lie: 0 on the border, negative outside."""
    outside = ndimage.distance_transform_edt(~inside)
    return ndimage.distance_transform_edt(inside) - np.maximum(outside - 1, 0)


def _within(cells: np.ndarray) -> np.ndarray:
    """Corners (R + 1, R + 1, R + 1) of cells (R, R, R) all round which the cells are true."""
    padded = np.pad(cells, 1, mode="edge").astype(np.uint8)
    return ndimage.minimum_filter(padded, 2)[1:, 1:, 1:] > 0
