"""Codes of the training objects: coordinates along the principal components of their solids and colours.

N objects · D numbers of a field · K of a code · r, c cells a side of the structure's latent and of colours.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from backend.lifting.text_encoder import LiftingTextConfig
from backend.training.encoders import unpacked
from backend.training.text.objects import VARIANTS, Objects

_DAMPED = 0.5  # power of its deviation by which a component counts, so that details are heard beside masses
_LEAST = 1e-9
_BATCH = 64


@dataclass(frozen=True)
class Basis:
    """fields ≈ mean (D,) + codes (…, K) @ components (K, D); codes have a mean square of 1."""

    mean: Tensor
    components: Tensor

    def codes(self, fields: Tensor) -> Tensor:
        """Fields (N, D) -> (N, K)."""
        return (fields - self.mean) @ self.components.T / self.components.square().sum(1).clamp(min=_LEAST)


@dataclass(frozen=True)
class Codes:
    """shapes (N, K) and colors (N, VARIANTS, K) of the objects, and what they are coordinates of."""

    shapes: Tensor
    colors: Tensor
    solid: Basis
    tint: Basis

    def of(self, number: int, variant: int) -> Tensor:
        """The code (K,) of a variant of an object."""
        return torch.cat([self.shapes[number], self.colors[number, variant]])


def object_codes(objects: Objects, config: LiftingTextConfig) -> Codes:
    """The codes of all objects, of the sizes that the text encoder has."""
    solids = _solids(objects, config.resolution)
    tints = _tints(objects, 2 * config.resolution, config.color_resolution)
    solid = principal_components(solids, config.shape_code)
    tint = principal_components(tints.flatten(0, 1), config.color_code)
    colors = tint.codes(tints.flatten(0, 1)).unflatten(0, (-1, VARIANTS))
    return Codes(solid.codes(solids), colors, solid, tint)


def principal_components(fields: Tensor, count: int) -> Basis:
    """Of fields (N, D); N objects span N − 1 of them, all further ones are zeros."""
    mean = fields.mean(0)
    centred = fields - mean
    # The smaller of both products has the same spectrum.
    values, vectors = torch.linalg.eigh((centred @ centred.T).double())
    order = values.argsort(descending=True)[:count]
    order = order[values[order] > _LEAST * values.max()]
    axes = F.normalize(vectors[:, order].T.float() @ centred, dim=1)
    scale = (values[order] / len(fields)).float() ** ((1 - _DAMPED) / 2)
    spread = (values[order] / len(fields)).float().pow(_DAMPED).mean().sqrt()
    components = axes * (scale * spread)[:, None]
    return Basis(mean, F.pad(components, (0, 0, 0, count - len(components))))


def _solids(objects: Objects, size: int) -> Tensor:
    """How full each cell is: (N, r³)."""
    pooled = []
    for first in range(0, len(objects.entries), _BATCH):
        numbers = range(first, min(first + _BATCH, len(objects.entries)))
        (packed,) = objects.structures(numbers, "packed_solid")
        filled = unpacked(packed)
        pooled.append(F.avg_pool3d(filled, filled.shape[-1] // size).flatten(1))
    return torch.cat(pooled)


def _tints(objects: Objects, resolution: int, size: int) -> Tensor:
    """Colours in [−1, 1] of each cell, of the nearest where it holds none: (N, VARIANTS, 3 c³)."""
    rows = []
    for number in range(len(objects.entries)):
        for variant in range(VARIANTS):
            coords, _, tints = objects.latents(number, variant)
            rows.append(spread_tints(coords.numpy(), tints.numpy(), resolution, size).ravel())
    return torch.from_numpy(np.stack(rows)).unflatten(0, (-1, VARIANTS))


def spread_tints(coords: np.ndarray, tints: np.ndarray, resolution: int, size: int) -> np.ndarray:
    """Means in cells of the colours (L, 3) u8 of voxels (L, 3): (3, c, c, c) f32 in [−1, 1]."""
    x, y, z = (coords // (resolution // size)).T
    cell = (x * size + y) * size + z
    count = np.bincount(cell, minlength=size**3)
    sums = [np.bincount(cell, tint, minlength=size**3) for tint in tints.T.astype(np.float64)]
    means = (np.stack(sums) / np.maximum(count, 1)).reshape(3, size, size, size)
    empty = (count == 0).reshape(size, size, size)
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return (means[:, *nearest] / 127.5 - 1).astype(np.float32)
