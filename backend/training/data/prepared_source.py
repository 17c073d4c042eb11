"""Scenes whose surface is stored, for the parts that ask for distances to it; all others are made on the
spot.

Drawing and voxelising a scene takes a few milliseconds, so pictures are seen from ever new sides; distances
take a hundred times that, so they come from the views that were prepared, with new light, colours and
mirroring.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from backend.geometry.mesh_files import Asset, Entry, group_weights
from backend.geometry.views import training_view
from backend.training.data.stored_shape import read_shape
from backend.training.dataset import ObjectSource, Scene, Variety, make_scene, recolored


class PreparedSource(ObjectSource):
    """An ObjectSource that knows the meshes and, by entry number, the files of stored shapes."""

    def __init__(
        self,
        entries: tuple[Entry, ...],
        seed: int,
        assets: dict[int, Asset],
        shapes: dict[int, tuple[Path, ...]],
        variety: Variety,
    ):
        super().__init__(entries, seed, variety)
        self._assets = dict(assets)
        self._shapes = shapes
        weights = group_weights(entries) * [number in shapes for number in range(len(entries))]
        self._cumulative_stored = np.cumsum(weights / max(weights.sum(), 1e-12))

    @property
    def stored(self) -> bool:
        """Whether distances to surfaces are stored."""
        return bool(self._shapes)

    def scene(self, step: int, index: int = 0, surface: bool = False) -> tuple[Scene, np.random.Generator]:
        """As ObjectSource does; of a stored shape if its surface is wanted."""
        if not surface or not self._shapes:
            return super().scene(step, index)
        rng = np.random.default_rng((self.seed, step, index))
        number = self.draw(self._cumulative_stored, rng)
        shape = read_shape(self._shapes[number][rng.integers(len(self._shapes[number]))])
        name = self.entries[number].name
        other = training_view(name, rng)
        view = replace(shape.view, light=other.light, mirror=other.mirror)
        scene = make_scene(name, recolored(self.asset(number), rng), view)
        return replace(scene, stored=shape), rng
