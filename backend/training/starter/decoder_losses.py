"""How far decoded cubes and Gaussians are from the surface they should show.

M voxels that are decoded. The mesh decoder's channels of a cube: 8 distances, 45 of shape, 8 × 6 of colour
and normal.
"""

import torch.nn.functional as F
from torch import Tensor

from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.models.structured_latent_vae import SLatGaussianDecoder
from backend.representations.gaussians import GaussianConfig
from backend.training.starter.gaussian_targets import gaussian_loss
from backend.training.starter.surface_sample import SurfaceSample

COLOR_REACH = 0.45  # voxels; colours are learned no farther from the surface


def decoder_loss(
    mesh_decoder: SLatMeshDecoder,
    gaussian_decoder: SLatGaussianDecoder,
    config: GaussianConfig,
    latents: Tensor,
    sample: SurfaceSample,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Both decoders on the sample's chosen voxels; latents (L, 8) of all its voxels."""
    coords, latents = sample.coords[sample.chosen], latents[sample.chosen]
    mesh, numbers = mesh_loss(mesh_decoder, coords, latents, sample)
    splats, more = gaussian_loss(gaussian_decoder, config, coords, latents, sample.gaussians)
    return mesh + splats, {**numbers, **more}


def mesh_loss(
    decoder: SLatMeshDecoder, coords: Tensor, latents: Tensor, sample: SurfaceSample
) -> tuple[Tensor, dict[str, Tensor]]:
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
    numbers = {"sdf": error.detach().mean(), "color": color.detach()}
    wrong = (raw[:, :8] < 0) != (distance < 0)
    numbers["wrong"] = wrong.float().mean()
    return geometry + 0.2 * sign + color + 0.1 * rest, numbers
