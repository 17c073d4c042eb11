"""What the flow of the structured latent learns from: a known solid, and what its picture tells of its
colours.

The solid's border is the sampled structure's when the flow runs, so the guess has the true shape here, and
the colours that the encoder gives it: right where the picture shows them, in doubt behind.
B batch · L voxels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.lifting.image_encoder import LiftingImageEncoder, outline_of
from backend.lifting.solid import given_on_voxels
from backend.lifting.surface import CORNERS_A_VOXEL
from backend.training.encoders import pixels, unpacked
from backend.training.flows import LatentExamples
from backend.training.starter.batches import LookBatch

HIDDEN = 0.25  # of what `Outline.behind` measures, from which the picture tells nothing of a voxel


def look_examples(
    lifting: LiftingImageEncoder, latents: Callable[[Tensor, Tensor], Tensor], batch: LookBatch
) -> LatentExamples:
    """The batch as the flow takes it; `latents` makes normalised ones (L, C) of coords (L, 3) and features
    (L, C_in).
    """
    pictures = pixels(batch.pictures)
    planes, volumes = lifting.lift(pictures)
    solids = F.avg_pool3d(unpacked(batch.packed_solid), 3, 1, 1)
    outlines = [
        outline_of(lifting.config, one[3]).fitted(solid[0])
        for one, solid in zip(pictures, solids, strict=True)
    ]
    grid = torch.stack([one.seen(lifting.color_grid) for one in outlines])[:, None]
    colors = lifting.colors(pictures, planes, volumes, grid).float()
    nothing = volumes[-1].new_zeros(len(pictures), 0, *volumes[-1].shape[2:])
    volume = lifting.aligned(nothing, volumes)
    given = []
    for number, (coords, features) in enumerate(zip(batch.coords, batch.features, strict=True)):
        guess = latents(coords, _tinted(features.float(), colors[number][(slice(None), *coords.long().T)].T))
        behind = outlines[number].behind(coords, colors.shape[-1])
        given.append(given_on_voxels(guess, volume[number : number + 1], behind, coords))
    truth = map(latents, batch.coords, batch.features)
    known = tuple(map(as_the_picture_shows, truth, given))
    return LatentExamples(lifting.tokens(planes, volumes), batch.coords, known, None, tuple(given))


def as_the_picture_shows(truth: Tensor, given: Tensor) -> Tensor:
    """True latents (L, C) in the picture's light, and the guess's own where the picture shows them, for
    there is nothing to invent; given (L, C') begins with the guess and ends with how far voxels are hidden.
    """
    guess, hidden = given[:, : truth.shape[1]], (given[:, -1:] / HIDDEN).clamp(max=1)
    seen = (hidden == 0).to(truth)
    light = ((guess - truth) * seen).sum(0) / seen.sum().clamp(min=1)
    return guess + hidden * (truth + light - guess)


def _tinted(features: Tensor, colors: Tensor) -> Tensor:
    """Features (L, C_in) of a solid's border with other colours (L, 3), one a voxel."""
    tints = features[:, CORNERS_A_VOXEL:].unflatten(1, (CORNERS_A_VOXEL, 3))
    near = (features[:, :CORNERS_A_VOXEL].abs() < 0.999)[..., None]
    return torch.cat([features[:, :CORNERS_A_VOXEL], (colors[:, None] * near).expand_as(tints).flatten(1)], 1)
