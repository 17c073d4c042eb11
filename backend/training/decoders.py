"""The decoders of the structured latent, trained on: the encoder rests, others already learn its latents.

Half of the samples are true latents. The other half is what generation will hand the decoders: the
structure and
the latents that the lifting encoder guesses from a picture, with the true surface as the answer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backend.models.lifting_encoder import LiftingImageEncoder
from backend.representations.structure import occupied_voxels
from backend.training.autoencoder_latent import LatentAutoencoder, encoder_sample, splats_config
from backend.training.autoencoder_structure import StructureAutoencoder
from backend.training.dataset import ObjectSource, picture
from backend.training.decoder_losses import decoder_loss
from backend.training.latent_targets import LatentTargets
from backend.training.loop import Part, pooled
from backend.training.recipe import Recipe
from backend.training.surface_sample import SurfaceSample, gaussian_places, surface_sample

NOISE = 0.15  # deviation of the noise on the latents, as the posterior and the flow leave it


def decoders_part(
    recipe: Recipe,
    source: ObjectSource,
    structure: StructureAutoencoder,
    lifting: LiftingImageEncoder,
    latents: LatentTargets,
    module: LatentAutoencoder,
) -> Part[SurfaceSample]:
    """`module` holds the decoders to go on with; its encoder stays as it is."""
    module.requires_grad_(True)
    module.encoder.requires_grad_(False)
    config = splats_config(recipe)
    places = gaussian_places(module.gaussian_decoder.offset_perturbation, config)

    def sample(number: int) -> SurfaceSample:
        if number % 2:
            return encoder_sample(recipe, source, number, places)
        return guessed_sample(recipe, source, number, places, structure, lifting, latents)

    def loss(sample: SurfaceSample, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        clean = sample.latents
        if clean is None:
            clean = module.encode(sample.coords, sample.features)
        noisy = clean + NOISE * torch.randn(clean.shape, generator=generator)
        error, numbers = decoder_loss(module.mesh_decoder, module.gaussian_decoder, config, noisy, sample)
        return error, {**numbers, "guessed": float(sample.latents is not None)}

    return Part("latent_decoders", module, pooled(sample, recipe.latent_pool), loss)


@torch.no_grad()
def guessed_sample(
    recipe: Recipe,
    source: ObjectSource,
    number: int,
    places: np.ndarray,
    structure: StructureAutoencoder,
    lifting: LiftingImageEncoder,
    latents: LatentTargets,
) -> SurfaceSample:
    """Scene `number` as the lifting encoder guesses it from its picture."""
    scene, rng = source.scene(number)
    lifted = lifting(torch.from_numpy(picture(scene, recipe.picture_size))[None])
    logits = structure.decoder(lifted.structure_start) + rng.uniform(*recipe.guessed_shift)
    coords = occupied_voxels(logits[0, 0], recipe.resolution)
    if len(coords) == 0:
        return encoder_sample(recipe, source, number, places)
    x, y, z = coords.unbind(1)
    guess = latents.restore(lifted.latent_start[0, :, x, y, z].T)
    return surface_sample(recipe, scene, coords.int().numpy(), rng, places, guess)
