"""The text encoder: sentence tokens (B, L, C) -> surface and solid, then the surface's colours.

B batch · R, r resolutions of the structure and of its latent · n cells of the r³.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.lifting.occupancy import OccupancyGuess
from backend.lifting.text_encoder import LiftingTextEncoder
from backend.models.sparse_structure_flow import patchify
from backend.training.encoders import begin_guess, shape_loss
from backend.training.loop import Part
from backend.training.starter.autoencoder_structure import StructureAutoencoder
from backend.training.starter.colors import begin_surface, color_distance
from backend.training.starter.latent_targets import LatentTargets
from backend.training.text.batches import LatentBatch, ShapeBatch, latent_batch, shape_batch
from backend.training.text.latents import StoredLatents
from backend.training.text.recipe import TextRecipe
from backend.training.text.sentences import Sentences
from backend.training.text.structures import Structures


def text_lifting_part(
    recipe: TextRecipe,
    sentences: Sentences,
    structures: Structures,
    structure: StructureAutoencoder,
) -> Part[ShapeBatch]:
    """The guess of surface and solid; that of the colours is learned later, on the finished volume."""
    module = LiftingTextEncoder(recipe.lifting)
    guess = module.structure_head
    begin_guess(guess, structure)
    for later in (module.color, module.color_head):
        later.requires_grad_(False)

    def batch(step: int) -> ShapeBatch:
        return shape_batch(recipe, sentences, structures, step, recipe.lifting_batch)

    def loss(batch: ShapeBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        volume = module.volume(batch.tokens)
        order = torch.randperm(volume[0, 0].numel(), generator=generator)
        cells = order[: recipe.lifting_cells].to(volume.device)
        occupied, solid = (_voxels(guess, one, cells) for one in (batch.occupied, batch.solid))
        return shape_loss(_occupancy(guess, volume, cells), occupied, solid)

    return Part("text_lifting", module, batch, loss)


def text_color_part(
    recipe: TextRecipe,
    sentences: Sentences,
    latents: StoredLatents,
    lifting: LiftingTextEncoder,
    targets: LatentTargets,
) -> Part[LatentBatch]:
    """The guess of the surface's colours, from the volume of the encoder as it is.

    With it the encoder can make latents, so it gets its latent encoder here.
    """
    lifting.requires_grad_(False)
    begin_surface(lifting.surface_head, targets)
    for head in (lifting.color, lifting.color_head):
        head.requires_grad_(True)

    def batch(step: int) -> LatentBatch:
        return latent_batch(recipe, sentences, latents, step, recipe.color_batch)

    def loss(batch: LatentBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            volume = lifting.volume(batch.tokens)
        guesses = lifting.colors(volume, batch.tokens)
        errors = []
        for one, coords, tints in zip(guesses, batch.coords, batch.tints, strict=True):
            x, y, z = coords.long().unbind(1)
            errors.append(color_distance(one[:, x, y, z].T, tints).mean())
        error = torch.stack(errors).mean()
        return error, {"error": error.detach()}

    return Part("text_colors", lifting, batch, loss)


def _occupancy(guess: OccupancyGuess, volume: Tensor, cells: Tensor) -> Tensor:
    """Logits (B, 2, n, block³) of some cells (n,) of a volume (B, C, r, r, r): all would take too long."""
    norm, activation, conv = guess.head
    features = activation(norm(volume)).flatten(2)[:, :, cells].transpose(1, 2)
    logits = F.linear(features, conv.weight.flatten(1), conv.bias).float()
    return logits.unflatten(2, (2, -1)).transpose(1, 2)


def _voxels(guess: OccupancyGuess, occupied: Tensor, cells: Tensor) -> Tensor:
    """What the logits of these cells should say: (B, 1, R, R, R) -> (B, 1, n, block³)."""
    return patchify(occupied, guess.config.block).flatten(2)[:, :, cells].transpose(1, 2)[:, None]
