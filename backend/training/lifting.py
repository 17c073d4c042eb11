"""The lifting encoder: picture (B, 3, S, S) -> occupancy, and through it the structure latent, and the
structured latent.

B batch · L voxels · R resolution · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from backend.models.lifting_encoder import LiftingImageEncoder
from backend.training.autoencoder_structure import OUTPUT_BIAS, StructureAutoencoder, iou
from backend.training.dataset import ObjectSource, grown, occupancy, picture, pooled_occupancy, voxel_features
from backend.training.latent_targets import LatentTargets
from backend.training.loop import Part
from backend.training.losses import occupancy_loss
from backend.training.recipe import Recipe
from backend.training.render import CROP_MARGIN

COLOR_WEIGHT = 3.0


@dataclass(frozen=True)
class LiftingBatch:
    """colors (B, 3, S, S) u8 · packed (B, R³ / 8) u8 occupancy bits · per object coords (L, 3) and features
    (L, C_in) f16, or empty. All as small as may be, for it travels to the device.
    """

    colors: Tensor
    packed: Tensor
    coords: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()

    @cached_property
    def pixels(self) -> Tensor:
        """(B, 3, S, S) f32 in [0, 1]."""
        return self.colors.float() / 255

    @cached_property
    def occupied(self) -> Tensor:
        """(B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed)


def unpacked(packed: Tensor) -> Tensor:
    """Occupancies as numpy packs their bits, (B, R³ / 8) u8 -> (B, 1, R, R, R) f32, 0 or 1."""
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    bits = (packed[..., None] >> shifts) & 1
    size = round((8 * packed.shape[1]) ** (1 / 3))
    return bits.reshape(-1, 1, size, size, size).float()


def lifting_batch(recipe: Recipe, source: ObjectSource, step: int, size: int, latents: int) -> LiftingBatch:
    """`size` scenes as the encoder sees them, and the surface features, slow to make, of the first ones."""
    colors, packed, coords, features = [], [], [], []
    for index in range(size):
        scene, rng = source.scene(step, index, surface=index < latents)
        pixels = picture(scene, recipe.picture_size, CROP_MARGIN * rng.uniform(0.97, 1.03))
        colors.append(np.rint(pixels * 255).astype(np.uint8))
        occupied = occupancy(scene, recipe.structure_resolution)
        packed.append(np.packbits(occupied))
        if index < latents:
            coarse = grown(pooled_occupancy(occupied, recipe.resolution), rng)
            coords.append(np.argwhere(coarse).astype(np.int32))
            features.append(voxel_features(scene, coords[-1], recipe.resolution).astype(np.float16))
    return LiftingBatch(
        torch.from_numpy(np.stack(colors)),
        torch.from_numpy(np.stack(packed)),
        tuple(torch.from_numpy(one) for one in coords),
        tuple(torch.from_numpy(one) for one in features),
    )


def lifting_part(recipe: Recipe, source: ObjectSource, structure: StructureAutoencoder) -> Part[LiftingBatch]:
    """The first guess of the structure; that of the structured latent is learned on the finished volume.

    Learned together, its steeper gradients would leave the shape half as much of every step.
    """
    module = LiftingImageEncoder(recipe.lifting)
    guess = module.structure_head
    guess.encoder.load_state_dict(structure.encoder.state_dict())
    nn.init.constant_(guess.head[-1].bias, OUTPUT_BIAS)

    def batch(step: int) -> LiftingBatch:
        return lifting_batch(recipe, source, step, recipe.lifting_batch, latents=0)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        logits = guess.occupancy(module.lift(batch.pixels)[1][-1])
        error = occupancy_loss(logits, batch.occupied)
        return error, {"iou": iou(logits - guess.cut(logits), batch.occupied)}

    return Part("lifting", module, batch, loss)


def latent_start_part(
    recipe: Recipe, source: ObjectSource, lifting: LiftingImageEncoder, latents: LatentTargets
) -> Part[LiftingBatch]:
    """The first guess of the structured latent, from the volume of the encoder as it is."""
    lifting.requires_grad_(False)
    for head in (lifting.latent_expand, lifting.latent_picture, lifting.latent_block, lifting.latent_head):
        head.requires_grad_(True)

    def batch(step: int) -> LiftingBatch:
        size = recipe.latent_start_batch
        return lifting_batch(recipe, source, step, size, latents=size)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            planes, volumes = lifting.lift(batch.pixels)
        error = latent_start_loss(lifting.latent(planes, volumes).float(), batch, latents)
        return error, {"voxels": float(sum(map(len, batch.coords)))}

    return Part("latent_start", lifting, batch, loss)


def latent_start_loss(volume: Tensor, batch: LiftingBatch, latents: LatentTargets) -> Tensor:
    """Mean squared error of the latent volume (B, 8, R, R, R) on the occupied voxels, objects weighing the
    same.
    """
    # The last three channels hold the colour, which a picture shows more surely than the shape within a
    # voxel.
    weights = torch.ones(volume.shape[1], device=volume.device)
    weights[-3:] = COLOR_WEIGHT
    errors = []
    for one, coords, features in zip(volume, batch.coords, batch.features, strict=False):
        x, y, z = coords.long().unbind(1)
        squares = (one[:, x, y, z].T - latents(coords, features)).square().mean(0)
        errors.append((squares * weights).mean())
    return torch.stack(errors).mean()
