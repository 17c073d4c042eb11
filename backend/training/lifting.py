"""The lifting encoder: picture (B, 3, S, S) -> sparse structure through the frozen decoder, and the
structured latent.

B batch · L voxels · R resolution · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.models.lifting_encoder import LiftingImageEncoder
from backend.training.autoencoder_structure import StructureAutoencoder, iou
from backend.training.dataset import ObjectSource, grown, occupancy, picture, voxel_features
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


def lifting_batch(recipe: Recipe, source: ObjectSource, step: int, size: int, latents: int) -> LiftingBatch:
    """`size` scenes as the encoder sees them, and the surface features, slow to make, of the first ones."""
    pixels, occupied, coords, features = [], [], [], []
    for index in range(size):
        scene, rng = source.scene(step, index)
        pixels.append(picture(scene, recipe.picture_size, CROP_MARGIN * rng.uniform(0.97, 1.03)))
        occupied.append(occupancy(scene, recipe.resolution))
        if index < latents:
            coords.append(np.argwhere(grown(occupied[-1], rng)).astype(np.int32))
            features.append(voxel_features(scene, coords[-1], recipe.resolution))
    return LiftingBatch(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(np.stack(occupied)).float()[:, None],
        tuple(torch.from_numpy(one) for one in coords),
        tuple(torch.from_numpy(one) for one in features),
    )


def lifting_part(
    recipe: Recipe, source: ObjectSource, structure: StructureAutoencoder, latents: LatentTargets | None
) -> Part[LiftingBatch]:
    """Both first guesses; without latent targets (their autoencoder may still be in training) only the
    structure.
    """
    module = LiftingImageEncoder(recipe.lifting)

    def batch(step: int) -> LiftingBatch:
        wanted = 0 if latents is None else recipe.lifting_latents
        return lifting_batch(recipe, source, step, recipe.lifting_batch, wanted)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        lifted = module(batch.pixels)
        logits = structure.decoder(lifted.structure_start).float()
        occupancy_error = occupancy_loss(logits, batch.occupied)
        latent_error = F.mse_loss(lifted.structure_start, structure.encode(batch.occupied).float())
        total = occupancy_error + recipe.lifting_latent_weight * latent_error
        numbers = {"occupancy": float(occupancy_error.detach()), "structure": float(latent_error.detach())}
        numbers["iou"] = iou(logits + 1.5, batch.occupied)
        if latents is not None:
            error = latent_start_loss(lifted.latent_start, batch, latents)
            numbers["latent"] = float(error.detach())
            total = total + error
        return total, numbers

    return Part("lifting", module, batch, loss)


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
