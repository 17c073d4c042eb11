"""The structure decoder, trained on: the best structure for the latents that the lifting encoder guesses.

A guess from one picture is softer than any true latent; a decoder that has never seen one cuts it badly. Half of
the samples stay true latents, so that the autoencoder keeps its worth. B batch · R resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backend.models.lifting_encoder import LiftingImageEncoder
from backend.training.autoencoder_structure import StructureAutoencoder, iou
from backend.training.dataset import ObjectSource
from backend.training.lifting import LiftingBatch, lifting_batch
from backend.training.loop import Part
from backend.training.losses import occupancy_loss
from backend.training.recipe import Recipe


def structure_decoder_part(
    recipe: Recipe, source: ObjectSource, structure: StructureAutoencoder, lifting: LiftingImageEncoder
) -> Part[LiftingBatch]:
    """`structure` holds the decoder to go on with; its encoder and the picture encoder stay as they are."""
    decoder = structure.decoder.requires_grad_(True)

    def batch(step: int) -> LiftingBatch:
        return lifting_batch(recipe, source, step, recipe.structure_decoder_batch, latents=0)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        half = (len(batch.pixels) + 1) // 2
        with torch.no_grad():
            _, volumes = lifting.lift(batch.pixels[:half])
            guessed = lifting.structure_head(volumes[-1]).float()
            true = structure.encode(batch.occupied[half:]).float()
        logits = decoder(torch.cat([guessed, true])).float()
        on_guessed = occupancy_loss(logits[:half], batch.occupied[:half])
        on_true = occupancy_loss(logits[half:], batch.occupied[half:])
        numbers = {
            "guessed": float(on_guessed.detach()),
            "true": float(on_true.detach()),
            "iou": iou(logits[:half] + 1.5, batch.occupied[:half]),
            "iou_true": iou(logits[half:], batch.occupied[half:]),
        }
        return on_guessed + on_true, numbers

    return Part("structure_decoder", decoder, batch, loss)
