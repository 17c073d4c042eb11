"""What the starter's encoder and flows learn from: scenes by number, as small as may be, for they travel.

B batch · L voxels of the structured latent · R, r resolutions of the structure and of the structured latent ·
S picture size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.geometry.render import CROP_MARGIN
from backend.geometry.scene import Scene, occupancy, picture
from backend.lifting.mesh_features import voxel_features
from backend.training.dataset import ObjectSource, grown_coords, solid, surface_tints
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
    pictures, packed, packed_solid = [], [], []
    for index in range(size):
        scene, rng = source.scene(step, index)
        pictures.append(_picture(recipe, scene, rng))
        occupied = occupancy(scene, recipe.structure_resolution)
        packed.append(np.packbits(occupied))
        packed_solid.append(np.packbits(solid(occupied)))
    return ShapeBatch(_stacked(pictures), _stacked(packed), _stacked(packed_solid))


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
    return FeatureBatch(_stacked(pictures), tuple(coords), tuple(features))


def color_batch(recipe: Recipe, source: ObjectSource, step: int) -> ColorBatch:
    """Pictures, and the colours of the surface in and around the voxels that it crosses."""
    pictures, tints, nears = [], [], []
    for index in range(recipe.color_batch):
        scene, _ = source.scene(step, index)
        pictures.append(np.rint(picture(scene, recipe.picture_size) * 255).astype(np.uint8))
        tint, near = surface_tints(scene, recipe.resolution)
        tints.append(tint)
        nears.append(near)
    return ColorBatch(_stacked(pictures), _stacked(tints), _stacked(nears))


def _picture(recipe: Recipe, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """(4, S, S) u8, the object now a little larger, now a little smaller in it."""
    pixels = picture(scene, recipe.picture_size, CROP_MARGIN * rng.uniform(0.97, 1.03))
    return np.rint(pixels * 255).astype(np.uint8)


def _stacked(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
