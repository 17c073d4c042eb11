"""What the starter's encoder and flows learn from: scenes by number, as small as may be, for they travel.

B batch · L voxels of the structured latent · R, r resolutions of the structure and of the structured latent ·
S picture size.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.geometry.render import CROP_MARGIN
from backend.geometry.scene import Scene, occupancy, picture
from backend.lifting.mesh_features import voxel_features
from backend.representations.enclosed import enclosed
from backend.training.dataset import ObjectSource, grown_coords, surface_tints
from backend.training.encoders import ColorBatch, ShapeBatch
from backend.training.starter.recipe import Recipe


@dataclass(frozen=True)
class FeatureBatch:
    """pictures (B, 4, S, S) u8 · of each object coords (L, 3) i32 and surface features (L, C_in) f16."""

    pictures: Tensor
    coords: tuple[Tensor, ...]
    features: tuple[Tensor, ...]


def shape_batch(recipe: Recipe, source: ObjectSource, step: int, size: int) -> ShapeBatch:
    """`size` scenes as the encoder sees them, and their voxels."""

    def row(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        occupied = occupancy(scene, recipe.structure_resolution)
        return _picture(recipe, scene, rng), np.packbits(occupied), np.packbits(enclosed(occupied))

    return ShapeBatch(*_stacked(row(*source.scene(step, index)) for index in range(size)))


def feature_batch(recipe: Recipe, source: ObjectSource, step: int, size: int) -> FeatureBatch:
    """`size` scenes as the encoder sees them, and features of their voxels, grown as generated ones are."""
    pictures, coords, features = [], [], []
    for index in range(size):
        scene, rng = source.scene(step, index, surface=True)
        pictures.append(_picture(recipe, scene, rng))
        places = grown_coords(scene, recipe.structure_resolution, recipe.resolution, rng)
        coords.append(torch.from_numpy(places))
        found = voxel_features(scene, places, recipe.resolution).astype(np.float16)
        features.append(torch.from_numpy(found))
    return FeatureBatch(torch.from_numpy(np.stack(pictures)), tuple(coords), tuple(features))


def color_batch(recipe: Recipe, source: ObjectSource, step: int) -> ColorBatch:
    """Pictures, and the colours of the surface in and around the voxels that it crosses."""
    scenes = (source.scene(step, index)[0] for index in range(recipe.color_batch))
    rows = ((_picture(recipe, scene), *surface_tints(scene, recipe.resolution)) for scene in scenes)
    return ColorBatch(*_stacked(rows))


def _picture(recipe: Recipe, scene: Scene, rng: np.random.Generator | None = None) -> np.ndarray:
    """(4, S, S) u8; with `rng` the object is now a little larger, now a little smaller in it."""
    margin = CROP_MARGIN if rng is None else CROP_MARGIN * rng.uniform(0.97, 1.03)
    return np.rint(picture(scene, recipe.picture_size, margin) * 255).astype(np.uint8)


def _stacked(rows: Iterable[tuple[np.ndarray, ...]]) -> Iterator[Tensor]:
    """The columns of the rows, a row an object."""
    return (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
