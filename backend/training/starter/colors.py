"""The lifting encoder's colours: picture (B, 4, S, S) -> colour of the surface, were it there, in all voxels.

They are learned on the finished volume. B batch · r resolution of the structured latent · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from backend.geometry.surface import voxel_colors
from backend.lifting.image_encoder import LiftingImageEncoder
from backend.lifting.surface import SurfaceGuess
from backend.training.dataset import ObjectSource, Scene, picture
from backend.training.loop import Part
from backend.training.starter.latent_targets import LatentTargets
from backend.training.starter.recipe import Recipe

COLOR_REACH = 2.0  # voxels from the surface at which its colour still counts


@dataclass(frozen=True)
class ColorBatch:
    """pictures (B, 4, S, S) u8 · tints (B, 3, r, r, r) u8 of the voxels, of which only those
    close to the surface, near (B, r, r, r) bool, are told.
    """

    pictures: Tensor
    tints: Tensor
    near: Tensor


def color_batch(recipe: Recipe, source: ObjectSource, step: int) -> ColorBatch:
    """Pictures, and the colours of the surface in and around the voxels that it crosses."""
    pictures, tints, nears = [], [], []
    for index in range(recipe.color_batch):
        scene, _ = source.scene(step, index)
        pictures.append(np.rint(picture(scene, recipe.picture_size) * 255).astype(np.uint8))
        tint, near = surface_tints(scene, recipe.resolution)
        tints.append(tint)
        nears.append(near)
    return ColorBatch(*(torch.from_numpy(np.stack(one)) for one in (pictures, tints, nears)))


def surface_tints(scene: Scene, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours (3, r, r, r) u8 of the surface nearest to each voxel, and which voxels are near, bool."""
    tint, known = voxel_colors(scene.vertices, scene.faces, scene.corner_colors, resolution)
    # A guessed surface lies beside the true one, and should look like it there too.
    distance, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    return np.rint(tint[tuple(nearest)] * 255).astype(np.uint8).transpose(3, 0, 1, 2), distance <= COLOR_REACH


def color_layers(lifting: LiftingImageEncoder) -> tuple[nn.Module, ...]:
    """The layers that only colours pass."""
    return lifting.color_expand, lifting.color_picture, lifting.color_block, lifting.color_head


def color_part(
    recipe: Recipe, source: ObjectSource, lifting: LiftingImageEncoder, latents: LatentTargets
) -> Part[ColorBatch]:
    """The guess of the surface's colours, from the volume of the encoder as it is.

    With it the encoder can make latents, so it gets its latent encoder here.
    """
    lifting.requires_grad_(False)
    begin_surface(lifting.surface_head, latents)
    for head in color_layers(lifting):
        head.requires_grad_(True)

    def batch(step: int) -> ColorBatch:
        return color_batch(recipe, source, step)

    def loss(batch: ColorBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = batch.pictures.float() / 255
        with torch.no_grad():
            planes, volumes = lifting.lift(pixels)
        error = color_loss(lifting.colors(pixels, planes, volumes), batch.tints, batch.near)
        return error, {"error": error.detach()}

    return Part("colors", lifting, batch, loss)


def color_loss(guessed: Tensor, tints: Tensor, near: Tensor) -> Tensor:
    """Mean distance of colours in [−1, 1] (B, 3, r, r, r) from u8 ones where they are known, in [0, 1]."""
    error = color_distance(guessed, tints).mean(1)
    return (error * near).sum() / near.sum().clamp(min=1)


def color_distance(guessed: Tensor, tints: Tensor) -> Tensor:
    """How far colours in [−1, 1] are from u8 ones, channel by channel, in [0, 1]."""
    return (guessed.float() - (tints / 127.5 - 1)).abs() / 2


def begin_surface(guess: SurfaceGuess, latents: LatentTargets) -> None:
    """Gives a new guess its latent encoder and the latents' normalisation."""
    guess.encoder.load_state_dict(latents.autoencoder.encoder.state_dict())
    guess.mean.copy_(latents.mean)
    guess.std.copy_(latents.std)
