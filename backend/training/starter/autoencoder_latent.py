"""The structured-latent autoencoder: surface features (L, C_in) -> latents (L, 8) -> mesh cubes and
Gaussians.

Encoder and both decoders learn together, supervised directly. Only a box of voxels is decoded in a step, and
its surroundings encoded. L voxels.
"""

import torch
from torch import Tensor, nn

from backend.lifting.mesh_features import voxel_features
from backend.lifting.surface import CORNERS_A_VOXEL
from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.models.structured_latent_vae import SLatEncoder, SLatGaussianDecoder
from backend.training.dataset import ObjectSource, grown_coords
from backend.training.loop import Part
from backend.training.losses import kl_divergence, sample_posterior
from backend.training.starter.gaussian_targets import gaussian_loss
from backend.training.starter.recipe import Recipe
from backend.training.starter.surface_sample import (
    SurfaceSample,
    gaussian_config,
    gaussian_places,
    mesh_loss,
    surface_sample,
)

INITIAL_LOGVAR = -4.0
COLOR_GAIN = 2.0  # latent units for the way from grey to white


class LatentAutoencoder(nn.Module):
    """The encoder and the two decoders."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.encoder = SLatEncoder.from_args(recipe.latent_encoder)
        with torch.no_grad():  # a narrow posterior, so that decoders see the latents from the first step
            self.encoder.out_layer.bias[recipe.latent_encoder["latent_channels"] :] = INITIAL_LOGVAR
        self.mesh_decoder = SLatMeshDecoder.from_args(recipe.mesh_decoder)
        self.gaussian_decoder = SLatGaussianDecoder.from_args(recipe.gaussian_decoder)

    @torch.no_grad()
    def encode(self, coords: Tensor, features: Tensor) -> Tensor:
        """The latents (L, 8) that stand for an object: the posterior's mean."""
        return self.encoder(features, self.encoder.structure(coords))[0].float()


class LatentTargets:
    """The frozen encoder with its normalisation: coords (L, 3) i32, features (L, C_in) -> latents (L, 8)."""

    def __init__(self, autoencoder: LatentAutoencoder, mean: Tensor, std: Tensor):
        self.autoencoder = autoencoder
        device = next(autoencoder.parameters()).device
        self.mean = mean.to(device)
        self.std = std.to(device)

    def __call__(self, coords: Tensor, features: Tensor) -> Tensor:
        return (self.autoencoder.encode(coords, features.float()) - self.mean) / self.std


def latent_part(recipe: Recipe, source: ObjectSource) -> Part[tuple[SurfaceSample, ...]]:
    """The joint training of encoder, mesh decoder and Gaussian decoder."""
    module = LatentAutoencoder(recipe)
    config = gaussian_config(recipe)
    places = gaussian_places(module.gaussian_decoder.offset_perturbation, config)

    def batch(number: int) -> tuple[SurfaceSample, ...]:
        size = recipe.latent_batch
        scenes = (source.scene(number * size + index, surface=True) for index in range(size))
        return tuple(surface_sample(recipe, scene, rng, places) for scene, rng in scenes)

    def one_loss(sample: SurfaceSample, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        mean, logvar = module.encoder(sample.features, module.encoder.structure(sample.coords))
        mean, logvar = mean.float(), logvar.float()
        latents = sample_posterior(mean, logvar, generator)
        coords, chosen = sample.coords[sample.chosen], latents[sample.chosen]
        error, numbers = mesh_loss(module.mesh_decoder, coords, chosen, sample)
        splats, more = gaussian_loss(module.gaussian_decoder, config, coords, chosen, sample.gaussians)
        kl = kl_divergence(mean, logvar)
        anchor = color_anchor(mean, sample.features)
        numbers |= more | {"kl": kl.detach(), "std": mean.detach().std(), "anchor": anchor.detach()}
        return error + splats + anchor + recipe.latent_kl * kl, numbers

    def loss(
        samples: tuple[SurfaceSample, ...], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # Objects one after the other, for each has voxels of its own.
        losses, tables = zip(*(one_loss(sample, generator) for sample in samples), strict=True)
        numbers = {key: torch.stack([table[key] for table in tables]).mean() for key in tables[0]}
        return torch.stack(losses).mean(), numbers

    return Part("latent_autoencoder", module, batch, loss)


def color_anchor(mean: Tensor, features: Tensor) -> Tensor:
    """Ties the last three latent channels to the voxel's mean colour.

    Without it the latents serve the geometry alone for thousands of steps, for colour is too small a share of
    their first gradients to rise above the posterior's noise.
    """
    tints = features[:, -3 * CORNERS_A_VOXEL :].unflatten(1, (CORNERS_A_VOXEL, 3))
    near = (tints != 0).any(-1, keepdim=True)
    color = (tints * near).sum(1) / near.sum(1).clamp(min=1)
    known = near.any(1).float()
    return (((mean[:, -3:] - COLOR_GAIN * color).abs() * known).mean(-1)).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def latent_statistics(
    module: LatentAutoencoder, recipe: Recipe, source: ObjectSource, count: int
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (8,) of the latents over `count` objects, every object weighing the same."""
    device = next(module.parameters()).device
    means, squares = [], []
    for step in range(count):
        scene, rng = source.scene(10**9 + step, surface=True)
        coords = grown_coords(scene, recipe.structure_resolution, recipe.resolution, rng)
        features = torch.from_numpy(voxel_features(scene, coords, recipe.resolution))
        latents = module.encode(torch.from_numpy(coords).to(device), features.to(device))
        means.append(latents.mean(0))
        squares.append(latents.square().mean(0))
    mean = torch.stack(means).mean(0)
    return mean, (torch.stack(squares).mean(0) - mean.square()).clamp(min=1e-8).sqrt()
