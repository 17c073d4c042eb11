"""The frozen latent encoder with its normalisation: what the lifting encoder and the latent flow learn to
produce.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backend.training.starter.autoencoder_latent import LatentAutoencoder


class LatentTargets:
    """Callable: coords (L, 3) i32, features (L, C_in) -> normalised latents (L, 8)."""

    def __init__(self, autoencoder: LatentAutoencoder, mean: Tensor, std: Tensor):
        self.autoencoder = autoencoder
        device = next(autoencoder.parameters()).device
        self.mean = mean.to(device)
        self.std = std.to(device)

    @torch.no_grad()
    def __call__(self, coords: Tensor, features: Tensor) -> Tensor:
        return (self.autoencoder.encode(coords, features.float()) - self.mean) / self.std

    def restore(self, latents: Tensor) -> Tensor:
        """The reverse of the normalisation."""
        return latents * self.std + self.mean
