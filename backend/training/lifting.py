"""The lifting encoder: picture (B, 3, S, S) -> sparse structure through the frozen decoder, and the structured
latent.

B batch · L voxels · R resolution · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
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
    """pixels (B, 3, S, S) · occupied (B, 1, R, R, R) · per object coords (L, 3) and features (L, C_in), or
    empty.
    """

    pixels: Tensor
    occupied: Tensor
    coords: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()


class LiftingTrainer(nn.Module):
    """The encoder and a head that training alone uses: occupancy straight from the volume, 4³ voxels a cell.

    It teaches the volume the shape at a small part of what the structure decoder costs at 64³.
    """

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.encoder = LiftingImageEncoder(recipe.lifting)
        channels = recipe.lifting.volume_channels[0]
        self.block = recipe.structure_resolution // recipe.lifting.volume_resolution
        self.packed = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv3d(channels, self.block**3, 1))
        nn.init.constant_(self.packed[-1].bias, OUTPUT_BIAS)

    def occupancy(self, volume: Tensor) -> Tensor:
        """(B, C, r, r, r) -> logits (B, 1, R, R, R)."""
        b, _, r = volume.shape[:3]
        x = self.packed(volume).float().reshape(b, self.block, self.block, self.block, r, r, r)
        return x.permute(0, 4, 1, 5, 2, 6, 3).reshape(b, 1, *(r * self.block,) * 3)


def lifting_batch(recipe: Recipe, source: ObjectSource, step: int, size: int, latents: int) -> LiftingBatch:
    """`size` scenes as the encoder sees them, and the surface features, slow to make, of the first ones."""
    pixels, occupied, coords, features = [], [], [], []
    for index in range(size):
        scene, rng = source.scene(step, index)
        pixels.append(picture(scene, recipe.picture_size, CROP_MARGIN * rng.uniform(0.97, 1.03)))
        occupied.append(occupancy(scene, recipe.structure_resolution))
        if index < latents:
            coarse = grown(pooled_occupancy(occupied[-1], recipe.resolution), rng)
            coords.append(np.argwhere(coarse).astype(np.int32))
            features.append(voxel_features(scene, coords[-1], recipe.resolution))
    return LiftingBatch(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(np.stack(occupied)).float()[:, None],
        tuple(torch.from_numpy(one) for one in coords),
        tuple(torch.from_numpy(one) for one in features),
    )


def lifting_part(recipe: Recipe, source: ObjectSource, structure: StructureAutoencoder) -> Part[LiftingBatch]:
    """The first guess of the structure; that of the structured latent is learned later, on the finished volume."""
    module = LiftingTrainer(recipe)

    def batch(step: int) -> LiftingBatch:
        return lifting_batch(recipe, source, step, recipe.lifting_batch, latents=0)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        _, volumes = module.encoder.lift(batch.pixels)
        packed = module.occupancy(volumes[-1])
        error = occupancy_loss(packed, batch.occupied)
        few = recipe.lifting_decoded
        # The head alone learns from the decoder: its steep gradients would drown what the volume learns.
        start = module.encoder.structure_head(volumes[-1][:few].detach()).float()
        latent_error = F.mse_loss(start, structure.encode(batch.occupied[:few]).float())
        decoded = structure.decoder(start).float()
        decoded_error = occupancy_loss(decoded, batch.occupied[:few])
        numbers = {
            "packed": float(error.detach()),
            "structure": float(latent_error.detach()),
            "decoded": float(decoded_error.detach()),
            "iou": iou(packed + 1.5, batch.occupied),
            "iou_decoded": iou(decoded + 1.5, batch.occupied[:few]),
        }
        return error + recipe.lifting_head_weight * (decoded_error + latent_error), numbers

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
    weights = torch.ones(volume.shape[1])
    weights[-3:] = COLOR_WEIGHT
    errors = []
    for one, coords, features in zip(volume, batch.coords, batch.features, strict=False):
        x, y, z = coords.long().unbind(1)
        squares = (one[:, x, y, z].T - latents(coords, features)).square().mean(0)
        errors.append((squares * weights).mean())
    return torch.stack(errors).mean()
