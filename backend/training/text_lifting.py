"""The text encoder: sentence tokens (B, L, C) -> the structure's latent, then the structured latent.

B batch · R, r resolutions of the structure and of its latent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.models.lifting_text import LiftingTextEncoder
from backend.models.occupancy_guess import OccupancyGuess
from backend.models.sparse_structure_flow import patchify
from backend.training.autoencoder_structure import OUTPUT_BIAS, StructureAutoencoder, iou
from backend.training.lifting import COLOR_WEIGHT
from backend.training.loop import Part
from backend.training.losses import occupancy_loss
from backend.training.text_batches import LatentBatch, ShapeBatch, latent_batch, shape_batch
from backend.training.text_latents import StoredLatents
from backend.training.text_recipe import TextRecipe
from backend.training.text_sentences import Sentences
from backend.training.text_structures import Structures


def text_lifting_part(
    recipe: TextRecipe,
    sentences: Sentences,
    structures: Structures,
    structure: StructureAutoencoder,
) -> Part[ShapeBatch]:
    """The guess of the structure; that of the structured latent is learned later, on the finished volume."""
    module = LiftingTextEncoder(recipe.lifting)
    guess = module.structure_head
    guess.encoder.load_state_dict(structure.encoder.state_dict())
    nn.init.constant_(guess.head[-1].bias, OUTPUT_BIAS)
    for later in (module.color, module.latent_head):
        later.requires_grad_(False)

    def batch(step: int) -> ShapeBatch:
        return shape_batch(recipe, sentences, structures, step, recipe.lifting_batch)

    def loss(batch: ShapeBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        volume = module.volume(batch.tokens)
        order = torch.randperm(volume[0, 0].numel(), generator=generator)
        cells = order[: recipe.lifting_cells].to(volume.device)
        logits = _occupancy(guess, volume, cells)
        target = patchify(batch.occupied, guess.config.block).flatten(2)[:, :, cells].transpose(1, 2)
        return occupancy_loss(logits, target), {"iou": iou(logits - guess.cut(logits), target)}

    return Part("text_lifting", module, batch, loss)


def text_latent_start_part(
    recipe: TextRecipe,
    sentences: Sentences,
    latents: StoredLatents,
    lifting: LiftingTextEncoder,
) -> Part[LatentBatch]:
    """The first guess of the structured latent, from the encoder as it is."""
    lifting.requires_grad_(False)
    for head in (lifting.color, lifting.latent_head):
        head.requires_grad_(True)

    def batch(step: int) -> LatentBatch:
        return latent_batch(recipe, sentences, latents, step, recipe.latent_batch)

    def loss(batch: LatentBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            volume = lifting.volume(batch.tokens)
        guesses = lifting.latent(volume, batch.tokens)
        # The last three channels hold the colour, which a sentence may name.
        weights = torch.ones(guesses.shape[1], device=guesses.device)
        weights[-3:] = COLOR_WEIGHT
        errors = []
        for one, coords, latent in zip(guesses, batch.coords, batch.latents, strict=True):
            x, y, z = coords.long().unbind(1)
            errors.append(((one[:, x, y, z].T - latent).square().mean(0) * weights).mean())
        return torch.stack(errors).mean(), {"voxels": float(sum(map(len, batch.coords)))}

    return Part("text_latent_start", lifting, batch, loss)


def _occupancy(guess: OccupancyGuess, volume: Tensor, cells: Tensor) -> Tensor:
    """Logits (B, n, block³) of some cells (n,) of a volume (B, C, r, r, r): all would take too long."""
    norm, activation, conv = guess.head
    features = activation(norm(volume)).flatten(2)[:, :, cells].transpose(1, 2)
    return F.linear(features, conv.weight.flatten(1), conv.bias).float()
