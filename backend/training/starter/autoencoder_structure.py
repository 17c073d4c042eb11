"""The sparse-structure autoencoder: occupancy (B, 1, R, R, R) <-> latent (B, 8, r, r, r)."""

import numpy as np
import torch
from torch import Tensor, nn

from backend.geometry.scene import occupancy
from backend.models.sparse_structure_vae import SparseStructureDecoder, SparseStructureEncoder
from backend.training.dataset import ObjectSource
from backend.training.loop import Part
from backend.training.losses import OCCUPIED_BIAS, iou, kl_divergence, occupancy_loss, sample_posterior
from backend.training.starter.recipe import Recipe


class StructureAutoencoder(nn.Module):
    """Encoder and decoder, trained together."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.encoder = SparseStructureEncoder.from_args(recipe.structure_encoder)
        self.decoder = SparseStructureDecoder.from_args(recipe.structure_decoder)
        nn.init.constant_(self.decoder.out_layer[-1].bias, OCCUPIED_BIAS)

    @torch.no_grad()
    def encode(self, occupied: Tensor) -> Tensor:
        """The latent that stands for an occupancy: the posterior's mean."""
        return self.encoder(occupied)[0]


def structure_part(recipe: Recipe, source: ObjectSource) -> Part[Tensor]:
    """Reconstruction by cross-entropy and Dice, and a little divergence from the normal distribution."""
    module = StructureAutoencoder(recipe)

    def loss(occupied: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        occupied = occupied.float()
        mean, logvar = module.encoder(occupied)
        logits = module.decoder(sample_posterior(mean.float(), logvar.float(), generator)).float()
        reconstruction = occupancy_loss(logits, occupied)
        kl = kl_divergence(mean.float(), logvar.float())
        numbers = {"iou": iou(logits, occupied), "kl": kl.detach(), "std": mean.detach().std()}
        return reconstruction + recipe.structure_kl * kl, numbers

    return Part("structure_autoencoder", module, lambda step: occupancy_crops(recipe, source, step), loss)


def occupancy_crops(recipe: Recipe, source: ObjectSource, step: int) -> Tensor:
    """(B, 1, S, S, S) bool boxes round surface voxels, for the networks see near neighbours only."""
    size, stride = recipe.structure_crop, 2 ** (len(recipe.structure_encoder["channels"]) - 1)
    crops = []
    for index in range(recipe.structure_batch):
        scene, rng = source.scene(step, index)
        occupied = occupancy(scene, recipe.structure_resolution)
        middle = rng.permutation(np.argwhere(occupied))[0] - size // 2 + rng.integers(-stride, stride + 1, 3)
        low = np.clip(middle // stride * stride, 0, recipe.structure_resolution - size)
        crops.append(occupied[tuple(slice(a, a + size) for a in low)])
    return torch.from_numpy(np.stack(crops))[:, None]


@torch.no_grad()
def fold_latent_scale(module: StructureAutoencoder, std: Tensor) -> None:
    """Rescales encoder and decoder so that latents that had the deviations std (C,) get 1; reconstructions
    stay.
    """
    channels = len(std)
    last, first = module.encoder.out_layer[-1], module.decoder.input_layer
    last.weight[:channels] /= std.view(-1, 1, 1, 1, 1)
    last.bias[:channels] /= std
    last.bias[channels:] -= 2 * std.log()
    first.weight *= std.view(1, -1, 1, 1, 1)
