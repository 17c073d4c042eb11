"""The text encoder: sentence tokens (B, L, C) -> the structure's latent, then the structured latent.

B batch · R, r resolutions of the structure and of its latent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.models.lifting_text import LiftingTextEncoder
from backend.training.autoencoder_structure import StructureAutoencoder, iou
from backend.training.lifting import COLOR_WEIGHT
from backend.training.loop import Part
from backend.training.losses import occupancy_loss
from backend.training.text_batches import LatentBatch, ShapeBatch, latent_batch, shape_batch
from backend.training.text_latents import StoredLatents
from backend.training.text_recipe import TextRecipe
from backend.training.text_sentences import Sentences
from backend.training.text_structures import Structures

Box = tuple[slice, slice, slice]


def text_lifting_part(
    recipe: TextRecipe,
    sentences: Sentences,
    structures: Structures,
    structure: StructureAutoencoder,
) -> Part[ShapeBatch]:
    """The guess of the structure; that of the structured latent is learned later, on the finished encoder."""
    module = LiftingTextEncoder(recipe.lifting)
    for later in (module.feature_head, module.latent_head):
        later.requires_grad_(False)

    def batch(step: int) -> ShapeBatch:
        return shape_batch(recipe, sentences, structures, step, recipe.lifting_batch)

    def loss(batch: ShapeBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor | float]]:
        start = module.structure(module.patches(batch.tokens))
        latent_error = F.mse_loss(start, batch.latents)
        # What an error does to the shape only the decoder knows, but it is slow: a box of few objects.
        few = len(batch.occupied)
        side, factor = recipe.decoded_box, batch.occupied.shape[-1] // start.shape[-1]
        coarse, fine = _box(start.shape[-1], side, factor, generator)
        decoded = structure.decoder(start[:few][(..., *coarse)]).float()
        target = batch.occupied[(..., *fine)]
        decoded_error = occupancy_loss(decoded, target)
        numbers: dict[str, Tensor | float] = {
            "structure": latent_error.detach(),
            "decoded": decoded_error.detach(),
            "iou_decoded": iou(decoded, target),
        }
        return latent_error + recipe.decoded_weight * decoded_error, numbers

    return Part("text_lifting", module, batch, loss)


def text_latent_start_part(
    recipe: TextRecipe,
    sentences: Sentences,
    structures: Structures,
    latents: StoredLatents,
    lifting: LiftingTextEncoder,
) -> Part[LatentBatch]:
    """The first guess of the structured latent, from the encoder as it is."""
    lifting.requires_grad_(False)
    for head in (lifting.feature_head, lifting.latent_head):
        head.requires_grad_(True)

    def batch(step: int) -> LatentBatch:
        return latent_batch(recipe, sentences, structures, latents, step, recipe.latent_batch)

    def loss(batch: LatentBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            patches = lifting.patches(batch.tokens)
            guessed = lifting.structure(patches)
        # On true structures the head learns what a surface's latents are, on guessed ones what it will get.
        true = torch.rand(len(patches), generator=generator) < recipe.true_structures
        structure = torch.where(true.to(guessed.device).view(-1, 1, 1, 1, 1), batch.structures, guessed)
        guesses = lifting.latent(patches, structure)
        # The last three channels hold the colour, which a sentence may name.
        weights = torch.ones(guesses.shape[1], device=guesses.device)
        weights[-3:] = COLOR_WEIGHT
        errors = []
        for one, coords, latent in zip(guesses, batch.coords, batch.latents, strict=True):
            x, y, z = coords.long().unbind(1)
            errors.append(((one[:, x, y, z].T - latent).square().mean(0) * weights).mean())
        return torch.stack(errors).mean(), {"voxels": float(sum(map(len, batch.coords)))}

    return Part("text_latent_start", lifting, batch, loss)


def _box(size: int, side: int, factor: int, generator: torch.Generator) -> tuple[Box, Box]:
    """A random box of a volume, and the same of the `factor` times finer one."""
    side = min(side, size)
    x, y, z = (int(torch.randint(0, size - side + 1, (1,), generator=generator)) for _ in range(3))
    coarse = (slice(x, x + side), slice(y, y + side), slice(z, z + side))
    fine = [slice(part.start * factor, part.stop * factor) for part in coarse]
    return coarse, (fine[0], fine[1], fine[2])
