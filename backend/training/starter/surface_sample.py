"""What the decoders of the structured latent learn from: a box of voxels, its surroundings, and the surface.

L voxels · M voxels to decode · n corners of a grid a side.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.geometry.scene import Scene, surface_field
from backend.geometry.surface import DistanceField, nearest_colors
from backend.layers.sparse import subdivide_coords
from backend.lifting.mesh_features import voxel_distance, voxel_features
from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.representations.gaussians import GaussianConfig
from backend.training.dataset import FINE_CELLS, grown_coords
from backend.training.starter.gaussian_targets import GaussianTargets, gaussian_targets
from backend.training.starter.recipe import Recipe

# Cube corners in the order of the mesh decoder's channels.
CORNERS = torch.tensor([(n & 1, n >> 1 & 1, n >> 2 & 1) for n in range(8)])
MARGIN = 4  # voxels round the decoded box that the encoder still sees: half a window
COLOR_REACH = 0.45  # voxels; colours are learned no farther from the surface
BOX_SIZES = (32, 24, 20, 16, 12, 10, 8, 6, 4)


@dataclass(frozen=True)
class SurfaceSample:
    """Part of an object: coords (L, 3) and features (L, C_in); `chosen` (M,) rows to decode, well inside it.

    distance (64M, 8) f16 in voxels and colors (64M, 8, 3) u8 at the corners of the cubes of the decoded
    voxels.
    """

    coords: Tensor
    features: Tensor
    chosen: Tensor
    distance: Tensor
    colors: Tensor
    gaussians: GaussianTargets


def surface_sample(
    recipe: Recipe, scene: Scene, rng: np.random.Generator, places: np.ndarray
) -> SurfaceSample:
    """A random box of a scene on its true structure, grown as generated ones are."""
    resolution = recipe.resolution
    coords = grown_coords(scene, recipe.structure_resolution, resolution, rng)
    coords, chosen = boxed(coords, recipe.latent_voxels, rng)
    features = voxel_features(scene, coords, resolution)
    field, corners = fine_field(scene, coords[chosen], resolution)
    near = field.face[corners]
    points = np.stack(corners, axis=-1).reshape(-1, 3)
    colors = nearest_colors(
        points, near.reshape(-1), scene.vertices, scene.faces, scene.corner_colors, FINE_CELLS * resolution
    ).reshape(*near.shape, 3)
    # Sheets and open shells, as most assets are, are shells of the thickening; what is closed is solid.
    distance = voxel_distance(field.distance, FINE_CELLS, resolution)[corners]
    return SurfaceSample(
        torch.from_numpy(coords),
        torch.from_numpy(features),
        torch.from_numpy(chosen),
        torch.from_numpy(distance).half(),
        torch.from_numpy(np.rint(colors * 255).astype(np.uint8)),
        gaussian_targets(scene, field, coords[chosen], places, resolution),
    )


def fine_field(
    scene: Scene, coords: np.ndarray, resolution: int
) -> tuple[DistanceField, tuple[np.ndarray, ...]]:
    """Distances on the mesh grid round voxels (L, 3), and where their cubes' corners lie: three (64L, 8)
    indices.
    """
    box = coords.min(axis=0) * FINE_CELLS, (coords.max(axis=0) + 1) * FINE_CELLS
    field = surface_field(scene, FINE_CELLS * resolution, FINE_CELLS + 0.5, box)
    cubes = subdivide_coords(subdivide_coords(torch.from_numpy(coords).long()))
    return field, tuple((cubes[:, None] + CORNERS).numpy().transpose(2, 0, 1))


def boxed(coords: np.ndarray, limit: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coords (L, 3) of a random box and its surroundings, and the rows (M,) of them in the box."""
    box = coords[choose_box(coords, limit, rng)]
    low, high = box.min(axis=0), box.max(axis=0)
    coords = coords[((coords >= low - MARGIN) & (coords <= high + MARGIN)).all(axis=1)]
    return coords, np.flatnonzero(((coords >= low) & (coords <= high)).all(axis=1))


def choose_box(coords: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Rows (M,) with M ≤ limit of the largest box round a random voxel that holds no more."""
    middle = coords[rng.integers(len(coords))]
    for size in BOX_SIZES:
        low = np.maximum(middle - size // 2, 0) // 2 * 2
        rows = np.flatnonzero(((coords >= low) & (coords < low + size)).all(axis=1))
        if 0 < len(rows) <= limit:
            return rows
    return np.array([int(np.flatnonzero((coords == middle).all(axis=1))[0])])


def gaussian_config(recipe: Recipe) -> GaussianConfig:
    """What the recipe's Gaussians are decoded by."""
    return GaussianConfig.from_json(recipe.gaussian_decoder["representation_config"], recipe.resolution)


def gaussian_places(perturbation: Tensor, config: GaussianConfig) -> np.ndarray:
    """Where the Gaussians of a voxel lie while the network says nothing: (G, 3) in [0, 1] of the voxel."""
    return (perturbation.cpu().tanh() * config.voxel_size / 2 + 0.5).double().numpy()


def mesh_loss(
    decoder: SLatMeshDecoder, coords: Tensor, latents: Tensor, sample: SurfaceSample
) -> tuple[Tensor, dict[str, Tensor]]:
    """Distance to the thickened surface and its colour at every corner of every cube of the decoded voxels.

    The mesh decoder's channels of a cube: 8 distances, 45 of shape, 8 × 6 of colour and normal.
    """
    raw = decoder(latents, decoder.structure(coords))[1].float()
    distance = sample.distance.float()
    error = (raw[:, :8] - distance).abs()
    # The sign and the zero crossing are what the mesh is made of.
    weight = 1 + 4 * (distance.abs() < 0.3)
    geometry = (error * weight).mean()
    sign = F.softplus(-8 * raw[:, :8] * distance.sign()).mean()
    near = distance.abs() < COLOR_REACH
    tint = raw[:, 53:101].unflatten(1, (8, 6))[..., :3].sigmoid()
    color = ((tint - sample.colors / 255).abs().mean(-1) * near).sum() / near.sum().clamp(min=1)
    # Unused freedom of the cubes stays at rest.
    rest = raw[:, 8:53].square().mean() + 0.1 * raw[:, 53:101].unflatten(1, (8, 6))[..., 3:].square().mean()
    numbers = {"sdf": error.detach().mean(), "color": color.detach()}
    wrong = (raw[:, :8] < 0) != (distance < 0)
    numbers["wrong"] = wrong.float().mean()
    return geometry + 0.2 * sign + color + 0.1 * rest, numbers
