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
from backend.representations.enclosed import enclosed
from backend.training.dataset import ObjectSource, surface_tints
from backend.training.encoders import ColorBatch, ShapeBatch
from backend.training.starter.recipe import Recipe
from backend.training.starter.solids import solid_border


@dataclass(frozen=True)
class LookBatch:
    """pictures (B, 4, S, S) u8 · packed_solid (B, R³ / 8) u8, bits of the solids · of each object coords
    (L, 3) i32 of its solid's border and features (L, C_in) f16 of that.
    """

    pictures: Tensor
    packed_solid: Tensor
    coords: tuple[Tensor, ...]
    features: tuple[Tensor, ...]


def shape_batch(recipe: Recipe, source: ObjectSource, step: int, size: int) -> ShapeBatch:
    """`size` scenes as the encoder sees them, and their voxels."""

    def row(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        occupied = occupancy(scene, recipe.structure_resolution)
        return _picture(recipe, scene, rng), np.packbits(occupied), np.packbits(enclosed(occupied))

    return ShapeBatch(*_stacked(row(*source.scene(step, index)) for index in range(size)))


def look_batch(recipe: Recipe, scenes: Iterable[tuple[Scene, np.random.Generator]]) -> LookBatch:
    """Scenes as the encoder sees them, and the borders of their solids, as guesses have them."""
    pictures, solids, coords, features = [], [], [], []
    for scene, rng in scenes:
        pictures.append(_picture(recipe, scene, rng))
        solids.append(np.packbits(enclosed(occupancy(scene, recipe.structure_resolution))))
        border = solid_border(recipe, scene, rng)
        coords.append(border.coords)
        features.append(border.features(border.coords).half())
    shown, packed = (torch.from_numpy(np.stack(column)) for column in (pictures, solids))
    return LookBatch(shown, packed, tuple(coords), tuple(features))


def color_batch(recipe: Recipe, source: ObjectSource, step: int) -> ColorBatch:
    """Pictures, and the colours of the surface in and around the voxels that it crosses."""
    scenes = (source.scene(step, index)[0] for index in range(recipe.color_batch))
    rows = ((_picture(recipe, scene), *surface_tints(scene, recipe.resolution)) for scene in scenes)
    return ColorBatch(*_stacked(rows))


def _picture(recipe: Recipe, scene: Scene, rng: np.random.Generator | None = None) -> np.ndarray:
    """(4, S, S) u8; with `rng` the object is now a little larger, now a little smaller in it."""
    margin = CROP_MARGIN if rng is None else CROP_MARGIN * rng.uniform(0.97, 1.03)
    return np.rint(picture(scene, recipe.lifting.picture_size, margin) * 255).astype(np.uint8)


def _stacked(rows: Iterable[tuple[np.ndarray, ...]]) -> Iterator[Tensor]:
    """The columns of the rows, a row an object."""
    return (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
