"""The lifting encoder's shape: picture (B, 4, S, S) -> the voxels of the surface and of the solid.

B batch · L voxels of the structured latent · R resolution of the structure · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from backend.geometry.render import CROP_MARGIN
from backend.lifting.image_encoder import LiftingImageEncoder
from backend.lifting.occupancy import OccupancyGuess
from backend.training.dataset import (
    ObjectSource,
    grown,
    occupancy,
    picture,
    pooled_occupancy,
    solid,
    voxel_features,
)
from backend.training.loop import Part
from backend.training.losses import occupancy_loss
from backend.training.starter.autoencoder_structure import OUTPUT_BIAS, StructureAutoencoder, iou
from backend.training.starter.colors import color_layers
from backend.training.starter.recipe import Recipe

# The solid fills many more voxels than the surface, so cross-entropy weighs enough of itself.
SOLID_BCE = 2.5
SOLID_WEIGHT = 0.7
SOLID_BIAS = -2.0  # the logit of the share of solid voxels
SURFACE_CUT = -1.5  # the logit near which surfaces are cut, for the log: the exact cut takes too long


@dataclass(frozen=True)
class LiftingBatch:
    """pictures (B, 4, S, S) u8 · packed, packed_solid (B, R³ / 8) u8 bits of surface and solid · per object
    coords (L, 3) and features (L, C_in) f16, or empty. All as small as may be, for it travels to the device.
    """

    pictures: Tensor
    packed: Tensor
    packed_solid: Tensor
    coords: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()

    @cached_property
    def pixels(self) -> Tensor:
        """(B, 4, S, S) f32 in [0, 1]."""
        return self.pictures.float() / 255

    @cached_property
    def occupied(self) -> Tensor:
        """(B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed)

    @cached_property
    def solid(self) -> Tensor:
        """(B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed_solid)


def unpacked(packed: Tensor) -> Tensor:
    """Occupancies as numpy packs their bits, (B, R³ / 8) u8 -> (B, 1, R, R, R) f32, 0 or 1."""
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    bits = (packed[..., None] >> shifts) & 1
    size = round((8 * packed.shape[1]) ** (1 / 3))
    return bits.reshape(-1, 1, size, size, size).float()


def lifting_batch(recipe: Recipe, source: ObjectSource, step: int, size: int, latents: int) -> LiftingBatch:
    """`size` scenes as the encoder sees them, and the surface features, slow to make, of the first ones."""
    pictures, packed, packed_solid, coords, features = [], [], [], [], []
    for index in range(size):
        scene, rng = source.scene(step, index, surface=index < latents)
        pixels = picture(scene, recipe.picture_size, CROP_MARGIN * rng.uniform(0.97, 1.03))
        pictures.append(np.rint(pixels * 255).astype(np.uint8))
        occupied = occupancy(scene, recipe.structure_resolution)
        packed.append(np.packbits(occupied))
        packed_solid.append(np.packbits(solid(occupied)))
        if index < latents:
            coarse = grown(pooled_occupancy(occupied, recipe.resolution), rng)
            coords.append(np.argwhere(coarse).astype(np.int32))
            features.append(voxel_features(scene, coords[-1], recipe.resolution).astype(np.float16))
    return LiftingBatch(
        torch.from_numpy(np.stack(pictures)),
        torch.from_numpy(np.stack(packed)),
        torch.from_numpy(np.stack(packed_solid)),
        tuple(torch.from_numpy(one) for one in coords),
        tuple(torch.from_numpy(one) for one in features),
    )


def lifting_part(recipe: Recipe, source: ObjectSource, structure: StructureAutoencoder) -> Part[LiftingBatch]:
    """The guess of surface and solid; that of the colours is learned on the finished volume.

    Learned together, their gradients would leave the shape less of every step.
    """
    module = LiftingImageEncoder(recipe.lifting)
    guess = module.structure_head
    begin_guess(guess, structure)
    for later in (*color_layers(module), module.surface_head):
        later.requires_grad_(False)

    def batch(step: int) -> LiftingBatch:
        return lifting_batch(recipe, source, step, recipe.lifting_batch, latents=0)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        logits = guess.occupancy(module.lift(batch.pixels)[1][-1])
        return shape_loss(logits, batch.occupied, batch.solid)

    return Part("lifting", module, batch, loss)


def begin_guess(guess: OccupancyGuess, structure: StructureAutoencoder) -> None:
    """Gives a new guess its structure encoder, and the share of occupied voxels as its first answer."""
    guess.encoder.load_state_dict(structure.encoder.state_dict())
    surface, solid = guess.head[-1].bias.data.chunk(2)
    nn.init.constant_(surface, OUTPUT_BIAS)
    nn.init.constant_(solid, SOLID_BIAS)


def shape_loss(logits: Tensor, occupied: Tensor, solid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of the logits of surface and solid, dimension 1, against the truth, and numbers to log."""
    crossed, filled = logits.split(1, dim=1)
    error = occupancy_loss(crossed, occupied)
    numbers = {
        "surface": error.detach(),
        "iou": iou(crossed - SURFACE_CUT, occupied),
        "iou_solid": iou(filled, solid),
    }
    return error + SOLID_WEIGHT * occupancy_loss(filled, solid, SOLID_BCE), numbers
