"""Prepares a folder of objects for the starter's training: reads every mesh, and stores shapes of some views.

Drawing and voxelising a scene takes a few milliseconds, so pictures are seen from ever new sides; distances
to the surface take a hundred times that, so they come from the views that are stored, with new light, colours
and mirroring.
"""

import io
import logging
import math
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backend.errors import UserError
from backend.geometry.mesh_files import Asset, Entry, group_weights, load_asset
from backend.geometry.scene import Scene, make_scene
from backend.geometry.stored_shape import measure_shape, read_shape, write_shape
from backend.geometry.views import training_view
from backend.lifting.surface import COARSE_CELLS
from backend.training.data.records import OutOfTime, Records
from backend.training.dataset import FINE_CELLS, ObjectSource, Variety, recolored
from backend.training.distributed import ALONE, World
from backend.training.starter.recipe import Recipe

log = logging.getLogger(__name__)


class PreparedSource(ObjectSource):
    """An ObjectSource that knows the meshes and, by entry number, the records of stored shapes."""

    def __init__(
        self,
        entries: tuple[Entry, ...],
        seed: int,
        assets: dict[int, Asset],
        shapes: dict[int, list[Records]],
        variety: Variety,
    ):
        super().__init__(entries, seed, variety)
        self._assets = dict(assets)
        self._shapes = shapes
        weights = group_weights(entries) * [number in shapes for number in range(len(entries))]
        self._cumulative_stored = np.cumsum(weights / max(weights.sum(), 1e-12))

    def scene(self, step: int, index: int = 0, surface: bool = False) -> tuple[Scene, np.random.Generator]:
        """As ObjectSource does; of a stored shape if its surface is wanted."""
        if not surface or not self._shapes:
            return super().scene(step, index)
        rng = np.random.default_rng((self.seed, step, index))
        number = self.draw(self._cumulative_stored, rng)
        entry = self.entries[number]
        (data,) = self._shapes[number][rng.integers(len(self._shapes[number]))].read(entry, "npz")
        shape = read_shape(io.BytesIO(data.numpy().tobytes()))
        other = training_view(entry.name, rng)
        view = replace(shape.view, light=other.light, mirror=other.mirror)
        scene = make_scene(entry.name, recolored(self.asset(number), rng), view)
        return replace(scene, stored=shape), rng


def prepare(
    recipe: Recipe,
    entries: Sequence[Entry],
    folder: Path,
    threads: int,
    until: float,
    seed: int = 0,
    world: World = ALONE,
    stop: float = math.inf,
) -> PreparedSource | None:
    """Reads all meshes and stores shapes until all are there or time.monotonic() says `until`.

    At `stop` it gives up for now, and returns None: the next call goes on. Broken meshes are named on the
    log and left out; UserError if none is left.
    """
    meshes = read_meshes(entries, threads)
    kept = tuple(meshes)
    sizes = {"resolution": recipe.resolution, "structure": recipe.structure_resolution, "seed": seed}
    kinds = [Records(folder, f"shape{view}", sizes) for view in range(recipe.views)]
    # Training draws from what is there when it begins, whatever time would suffice for later.
    complete = folder / "complete"
    if not complete.is_file():
        try:
            for view, records in enumerate(kinds):  # every object once before any a second time
                make = _maker(recipe, view, seed)
                records.prepare(kept, lambda: make, min(until, stop), world, threads, meshes.__getitem__)  # noqa: B023
        except OutOfTime:
            log.info("the time for storing shapes is over")
        (stopped,) = world.agree(float(time.monotonic() > stop))
        if stopped:
            return None
        if world.leads:
            folder.mkdir(parents=True, exist_ok=True)
            complete.touch()
        world.wait()
    stored = {n: [one for one in kinds if one.is_ready(entry)] for n, entry in enumerate(kept)}
    shapes = {n: records for n, records in stored.items() if records}
    return PreparedSource(kept, seed, dict(enumerate(meshes.values())), shapes, recipe.variety)


def read_meshes(entries: Sequence[Entry], threads: int) -> dict[Entry, Asset]:
    """All meshes that can be read, in the catalogue's order."""

    def read(entry: Entry) -> Asset | None:
        try:
            return load_asset(entry.path, split=True)
        except UserError as error:
            log.warning("%s It is left out.", error)
            return None

    log.info("reading %d meshes", len(entries))
    with ThreadPoolExecutor(threads) as pool:
        results = zip(entries, pool.map(read, entries), strict=True)
        meshes = {entry: asset for entry, asset in results if asset is not None}
    if not meshes:
        raise UserError(
            f"None of the {len(entries)} meshes can be read; the log names what is wrong with each."
        )
    return meshes


def _maker(recipe: Recipe, number: int, seed: int):
    cells = {n * recipe.resolution: n + 0.5 for n in (COARSE_CELLS, FINE_CELLS)}

    def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
        rng = np.random.default_rng((seed, zlib.crc32(entry.name.encode()), number))
        view = replace(training_view(entry.name, rng), mirror=False)
        scene = make_scene(entry.name, asset, view)
        shape = measure_shape(view, scene.vertices, scene.faces, recipe.structure_resolution, cells)
        compressed = io.BytesIO()
        write_shape(compressed, shape)
        return {"npz": torch.frombuffer(bytearray(compressed.getvalue()), dtype=torch.uint8)}

    return make
