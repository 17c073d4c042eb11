"""The decoders of the structured latent, trained on: the encoder rests, others already learn its latents.

Half of the samples are true latents. The other half is what generation will hand the decoders: the
structure and
the latents that the lifting encoder guesses from a picture, with the true surface as the answer.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from backend.training.autoencoder_latent import (
    LatentAutoencoder,
    encoder_sample,
    mean_loss,
    sample_batches,
    splats_config,
)
from backend.training.dataset import ObjectSource
from backend.training.decoder_losses import decoder_loss
from backend.training.guesses import Guesses
from backend.training.loop import Part
from backend.training.recipe import Recipe
from backend.training.surface_sample import SurfaceSample, gaussian_places, surface_sample

NOISE = 0.15  # deviation of the noise on the latents, as the posterior and the flow leave it


def decoders_part(
    recipe: Recipe, source: ObjectSource, guesses: Guesses, module: LatentAutoencoder
) -> Part[tuple[SurfaceSample, ...]]:
    """`module` holds the decoders to go on with; its encoder stays as it is."""
    module.requires_grad_(True)
    module.encoder.requires_grad_(False)
    config = splats_config(recipe)
    places = gaussian_places(module.gaussian_decoder.offset_perturbation, config)

    def sample(number: int) -> SurfaceSample:
        if number % 2:
            return encoder_sample(recipe, source, number, places)
        return guessed_sample(recipe, source, number, places, guesses)

    def one_loss(sample: SurfaceSample, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        clean = sample.latents
        if clean is None:
            clean = module.encode(sample.coords, sample.features)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noisy = clean + NOISE * noise
        return decoder_loss(module.mesh_decoder, module.gaussian_decoder, config, noisy, sample)

    return Part(
        "latent_decoders",
        module,
        sample_batches(recipe, source, sample),
        partial(mean_loss, one_loss),
        before_processes=partial(guesses.fill, recipe.latent_pool),
    )


def guessed_sample(
    recipe: Recipe, source: ObjectSource, number: int, places: np.ndarray, guesses: Guesses
) -> SurfaceSample:
    """A box of one of the pool of scenes, as the lifting encoder guesses it from its picture."""
    of_pool = number // 2 % recipe.latent_pool
    guess = guesses(of_pool)
    if len(guess.coords) == 0:
        return encoder_sample(recipe, source, number, places)
    scene, _ = source.scene(of_pool, surface=True)
    rng = np.random.default_rng((source.seed, number, 1))
    latents = torch.from_numpy(guess.latents).float()
    return surface_sample(recipe, scene, guess.coords, rng, places, latents)
