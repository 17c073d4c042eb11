"""The structured-latent autoencoder: surface features (L, C_in) -> latents (L, 8) -> mesh cubes and
Gaussians.

Encoder and both decoders learn together, supervised directly: signed distance and surface colour at the
corners of
the mesh decoder's cubes, nearest surface points for the Gaussians. Only a box of voxels is decoded in a step,
and its
surroundings encoded. L voxels · G Gaussians a voxel · n corners of the fine grid a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.layers.sparse import subdivide_coords
from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.models.structured_latent_vae import SLatEncoder, SLatGaussianDecoder
from backend.representations.gaussians import GaussianConfig
from backend.training.dataset import (
    FINE_CELLS,
    ObjectSource,
    Scene,
    grown,
    occupancy,
    voxel_distance,
    voxel_features,
)
from backend.training.gaussian_targets import GaussianTargets, gaussian_loss, gaussian_targets
from backend.training.loop import Part
from backend.training.losses import kl_divergence, sample_posterior
from backend.training.recipe import Recipe
from backend.training.surface import DistanceField, distance_field, nearest_colors

# Cube corners in the order of the mesh decoder's channels.
CORNERS = torch.tensor([(n & 1, n >> 1 & 1, n >> 2 & 1) for n in range(8)])
COLOR_REACH = 0.45  # voxels; colours are learned no farther from the surface
INITIAL_LOGVAR = -4.0
MARGIN = 4  # voxels round the decoded box that the encoder still sees: half a window
BOX_SIZES = (32, 24, 20, 16, 12, 10, 8, 6, 4)


@dataclass(frozen=True)
class SurfaceSample:
    """Part of an object: coords (L, 3) and features (L, C_in); `chosen` (M,) rows to decode, well inside the
    part.

    distance (64M, 8) f16 in voxels and colors (64M, 8, 3) u8 at the corners of the cubes of the decoded
    voxels.
    """

    coords: Tensor
    features: Tensor
    chosen: Tensor
    distance: Tensor
    colors: Tensor
    gaussians: GaussianTargets


class LatentAutoencoder(nn.Module):
    """The encoder and the two decoders."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.encoder = SLatEncoder.from_args(recipe.latent_encoder)
        with torch.no_grad():  # a narrow posterior, so that the decoders hear the latents from the first step
            self.encoder.out_layer.bias[recipe.latent_encoder["latent_channels"] :] = INITIAL_LOGVAR
        self.mesh_decoder = SLatMeshDecoder.from_args(recipe.mesh_decoder)
        self.gaussian_decoder = SLatGaussianDecoder.from_args(recipe.gaussian_decoder)

    @torch.no_grad()
    def encode(self, coords: Tensor, features: Tensor) -> Tensor:
        """The latents (L, 8) that stand for an object: the posterior's mean."""
        return self.encoder(features, self.encoder.structure(coords))[0].float()


def latent_part(recipe: Recipe, source: ObjectSource) -> Part[SurfaceSample]:
    """The joint training of encoder, mesh decoder and Gaussian decoder on one object a step."""
    module = LatentAutoencoder(recipe)
    splats_config = GaussianConfig.from_json(
        recipe.gaussian_decoder["representation_config"], recipe.resolution
    )
    places = gaussian_places(module.gaussian_decoder.offset_perturbation, splats_config)

    pool: dict[int, SurfaceSample] = {}

    def batch(step: int) -> SurfaceSample:
        # Distances cost as much as the training step: a finite pool of samples is made once and learned
        # repeatedly.
        number = step % recipe.latent_pool
        if number not in pool:
            scene, rng = source.scene(number)
            pool[number] = surface_sample(recipe, scene, rng, places)
        return pool[number]

    def loss(sample: SurfaceSample, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        mean, logvar = module.encoder(sample.features, module.encoder.structure(sample.coords))
        mean, logvar = mean.float(), logvar.float()
        latents = sample_posterior(mean, logvar, generator)[sample.chosen]
        coords = sample.coords[sample.chosen]
        mesh, numbers = mesh_loss(module.mesh_decoder, coords, latents, sample)
        splats, more = gaussian_loss(
            module.gaussian_decoder, splats_config, coords, latents, sample.gaussians
        )
        kl = kl_divergence(mean, logvar)
        numbers |= {**more, "kl": float(kl.detach()), "std": float(mean.detach().std())}
        return mesh + splats + recipe.latent_kl * kl, numbers

    return Part("latent_autoencoder", module, batch, loss)


def mesh_loss(
    decoder: SLatMeshDecoder, coords: Tensor, latents: Tensor, sample: SurfaceSample
) -> tuple[Tensor, dict[str, float]]:
    """Distance to the thickened surface and its colour at every corner of every cube of the decoded
    voxels.
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
    numbers = {"sdf": float(error.detach().mean()), "color": float(color.detach())}
    wrong = (raw[:, :8] < 0) != (distance < 0)
    numbers["wrong"] = float(wrong.float().mean())
    return geometry + 0.2 * sign + color + 0.1 * rest, numbers


def surface_sample(
    recipe: Recipe, scene: Scene, rng: np.random.Generator, places: np.ndarray
) -> SurfaceSample:
    """What the autoencoder sees of a scene, on a structure that is grown as generated ones are."""
    resolution = recipe.resolution
    coords = np.argwhere(grown(occupancy(scene, resolution), rng)).astype(np.int32)
    box = coords[choose_box(coords, recipe.latent_voxels, rng)]
    low, high = box.min(axis=0), box.max(axis=0)
    coords = coords[((coords >= low - MARGIN) & (coords <= high + MARGIN)).all(axis=1)]
    chosen = np.flatnonzero(((coords >= low) & (coords <= high)).all(axis=1))
    features = voxel_features(scene, coords, resolution)
    field, corners = fine_field(scene, coords[chosen], resolution)
    near = field.face[corners]
    points = np.stack(corners, axis=-1).reshape(-1, 3)
    colors = nearest_colors(
        points, near.reshape(-1), scene.vertices, scene.faces, scene.corner_colors, FINE_CELLS * resolution
    ).reshape(*near.shape, 3)
    distance = voxel_distance(field, FINE_CELLS, resolution)[corners]
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
    field = distance_field(
        scene.vertices, scene.faces, FINE_CELLS * resolution, band=FINE_CELLS + 0.5, box=box
    )
    cubes = subdivide_coords(subdivide_coords(torch.from_numpy(coords).long()))
    return field, tuple((cubes[:, None] + CORNERS).numpy().transpose(2, 0, 1))


def choose_box(coords: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Rows (M,) with M ≤ limit of the largest box round a random voxel that holds no more."""
    middle = coords[rng.integers(len(coords))]
    for size in BOX_SIZES:
        low = np.maximum(middle - size // 2, 0) // 2 * 2
        rows = np.flatnonzero(((coords >= low) & (coords < low + size)).all(axis=1))
        if 0 < len(rows) <= limit:
            return rows
    return np.array([int(np.flatnonzero((coords == middle).all(axis=1))[0])])


def gaussian_places(perturbation: Tensor, config: GaussianConfig) -> np.ndarray:
    """Where the Gaussians of a voxel lie while the network says nothing: (G, 3) in [0, 1] of the voxel."""
    return (perturbation.tanh() * config.voxel_size / 2 + 0.5).double().numpy()


@torch.no_grad()
def latent_statistics(
    module: LatentAutoencoder, recipe: Recipe, source: ObjectSource, count: int
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (8,) of the latents over `count` objects, every object weighing the same."""
    means, squares = [], []
    for step in range(count):
        scene, rng = source.scene(10**9 + step)
        coords = np.argwhere(grown(occupancy(scene, recipe.resolution), rng)).astype(np.int32)
        features = torch.from_numpy(voxel_features(scene, coords, recipe.resolution))
        latents = module.encode(torch.from_numpy(coords), features)
        means.append(latents.mean(0))
        squares.append(latents.square().mean(0))
    mean = torch.stack(means).mean(0)
    return mean, (torch.stack(squares).mean(0) - mean.square()).clamp(min=1e-8).sqrt()
