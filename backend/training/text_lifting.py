"""The text encoder: sentence tokens (B, L, C) -> sparse structure through the frozen decoder, and the structured
latent.

B batch · R, r resolutions of the structure and of its latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.models.lifting_text import LiftingTextEncoder
from backend.models.sparse_structure_flow import patchify
from backend.training.autoencoder_structure import OUTPUT_BIAS, StructureAutoencoder, iou
from backend.training.loop import Part
from backend.training.losses import occupancy_loss
from backend.training.text_recipe import TextRecipe
from backend.training.text_sentences import Sentences
from backend.training.text_structures import Structures

COLORED = 0.3  # share of sentences about the shape that name a colour, which says nothing of it


@dataclass(frozen=True)
class ShapeBatch:
    """tokens (B, L, C) · occupied (B, 1, R, R, R) · latents (B, Cz, r, r, r)."""

    tokens: Tensor
    occupied: Tensor
    latents: Tensor


class TextLiftingTrainer(nn.Module):
    """The encoder and a head that training alone uses: occupancy straight from the volume, 4³ voxels a cell."""

    def __init__(self, recipe: TextRecipe, resolution: int):
        super().__init__()
        self.encoder = LiftingTextEncoder(recipe.lifting)
        self.block = resolution // recipe.lifting.volume_resolution
        channels = recipe.lifting.volume_channels
        self.norm = nn.GroupNorm(8, channels)
        self.packed = nn.Linear(channels, self.block**3)
        nn.init.constant_(self.packed.bias, OUTPUT_BIAS)

    def occupancy(self, volume: Tensor, cells: Tensor) -> Tensor:
        """(B, C, r, r, r) -> logits (B, n, 4³) of the cells (n,)."""
        features = F.silu(self.norm(volume)).flatten(2)[:, :, cells]
        return self.packed(features.transpose(1, 2)).float()


def shape_batch(
    recipe: TextRecipe,
    sentences: Sentences,
    structures: Structures,
    colors: tuple[str, ...],
    step: int,
    size: int,
) -> ShapeBatch:
    """`size` sentences and the structures they are about; everything follows from (seed, step)."""
    said, numbers = [], []
    for index in range(size):
        rng = np.random.default_rng((recipe.seed, step, index))
        words, number = sentences.draw(rng)
        colored = rng.random() < COLORED
        said.append(sentences.say(f"{colors[number]} {words}" if colored else words, rng))
        numbers.append(number)
    latents = structures.latents[numbers].float()
    return ShapeBatch(sentences.tokens(said), structures.occupied(numbers), latents)


def text_lifting_part(
    recipe: TextRecipe,
    sentences: Sentences,
    structures: Structures,
    colors: tuple[str, ...],
    structure: StructureAutoencoder,
) -> Part[ShapeBatch]:
    """The first guess of the structure; that of the structured latent is learned later, on the finished volume."""
    module = TextLiftingTrainer(recipe, structures.resolution)
    module.encoder.requires_grad_(True)
    for later in (module.encoder.latent_expand, module.encoder.latent_block, module.encoder.latent_head):
        later.requires_grad_(False)

    def batch(step: int) -> ShapeBatch:
        return shape_batch(recipe, sentences, structures, colors, step, recipe.lifting_batch)

    def loss(batch: ShapeBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        volume = module.encoder.volume(batch.tokens)
        order = torch.randperm(volume[0, 0].numel(), generator=generator)
        cells = order[: recipe.lifting_cells].to(volume.device)
        packed = module.occupancy(volume, cells)
        target = patchify(batch.occupied, module.block).flatten(2)[:, :, cells].transpose(1, 2)
        error = occupancy_loss(packed, target)
        latent_error = F.mse_loss(module.encoder.structure_head(volume).float(), batch.latents)
        # The head alone learns from the decoder: its steep gradients would drown what the volume learns.
        few = recipe.decoded
        start = module.encoder.structure_head(volume[:few].detach()).float()
        box, fine = _box(start.shape[-1], recipe.decoded_box, module.block, generator)
        decoded = structure.decoder(start[box]).float()
        decoded_error = occupancy_loss(decoded, batch.occupied[:few][fine])
        numbers = {
            "packed": float(error.detach()),
            "structure": float(latent_error.detach()),
            "decoded": float(decoded_error.detach()),
            "iou": iou(packed, target),
            "iou_decoded": iou(decoded, batch.occupied[:few][fine]),
        }
        return error + latent_error + 0.3 * decoded_error, numbers

    return Part("text_lifting", module, batch, loss)


def _box(size: int, side: int, block: int, generator: torch.Generator) -> tuple[tuple, tuple]:
    """Indices of a random box of a volume and of the `block` times finer one."""
    low = (
        [int(torch.randint(0, size - side + 1, (1,), generator=generator)) for _ in range(3)]
        if size > side
        else [0] * 3
    )
    coarse = tuple(slice(a, a + side) for a in low)
    fine = tuple(slice(a * block, (a + side) * block) for a in low)
    return (..., *coarse), (..., *fine)
