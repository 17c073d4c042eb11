"""Prepares a folder of objects for training: reads every mesh, and stores shapes seen from several sides.

`<folder>/meshes` gets objects of foreign formats as npz, `<folder>/shapes` one record an object and view;
what is there is not made again. `<folder>/prepared.json` is written at the end and fixes what training
draws from.
"""

from __future__ import annotations

import json
import logging
import math
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backend.errors import UserError
from backend.files import atomic_path
from backend.geometry.mesh_files import Asset, Entry, load_asset
from backend.geometry.views import training_view
from backend.lifting.surface import COARSE_CELLS
from backend.training.data.prepared_source import PreparedSource
from backend.training.data.progress import ProgressBar
from backend.training.data.stored_shape import measure_shape, write_shape
from backend.training.dataset import FINE_CELLS, make_scene
from backend.training.distributed import ALONE, World
from backend.training.starter.recipe import Recipe

log = logging.getLogger(__name__)
_QUEUE = 4  # jobs a thread that are handed out at a time


@dataclass(frozen=True)
class Mesh:
    """An object that could be read: its entry, number in the catalogue, mesh, and a digest of both."""

    entry: Entry
    asset: Asset
    digest: str


def prepare(
    recipe: Recipe,
    entries: tuple[Entry, ...],
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
    for name in ("meshes", "shapes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    meshes = read_meshes(entries, folder / "meshes", threads, world.leads)
    table = folder / "prepared.json"
    if not table.is_file():
        _store_shapes(recipe, meshes, folder / "shapes", threads, min(until, stop), seed, world)
        (stopped,) = world.agree(float(time.monotonic() > stop))
        if stopped:
            return None
        world.wait()
        if world.leads:
            _write_table(table, meshes, folder / "shapes", recipe.views)
        world.wait()
    names = json.loads(table.read_text(encoding="utf-8"))["shapes"]
    kept = tuple(mesh.entry for mesh in meshes)
    records = {n: _paths(folder / "shapes", names.get(mesh.digest, [])) for n, mesh in enumerate(meshes)}
    assets = {n: mesh.asset for n, mesh in enumerate(meshes)}
    stored = {n: paths for n, paths in records.items() if paths}
    return PreparedSource(kept, seed, assets, stored, recipe.variety)


def read_meshes(entries: tuple[Entry, ...], folder: Path, threads: int, shown: bool = True) -> list[Mesh]:
    """All meshes that can be read, in the catalogue's order."""
    bar = ProgressBar("reading meshes", len(entries), shown)

    def read(entry: Entry) -> Mesh | UserError:
        try:
            asset = _read_mesh(entry, folder)
        except UserError as error:
            return error
        finally:
            bar.advance()
        shape = zlib.crc32(asset.vertices.tobytes(), zlib.crc32(asset.faces.tobytes()))
        return Mesh(entry, asset, f"{zlib.crc32(entry.name.encode()):08x}{shape:08x}")

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(read, entries))
    bar.close()
    for result in results:
        if isinstance(result, UserError):
            log.warning("%s It is left out.", result)
    meshes = [result for result in results if isinstance(result, Mesh)]
    if not meshes:
        raise UserError(
            f"None of the {len(entries)} meshes can be read; the log names what is wrong with each."
        )
    return meshes


def _read_mesh(entry: Entry, folder: Path) -> Asset:
    """The mesh; one of a foreign format by way of its npz copy, if that is newer."""
    if entry.path.suffix.lower() == ".npz" or not entry.path.is_file():
        return load_asset(entry.path)
    copy = folder / f"{zlib.crc32(entry.name.encode()):08x}.npz"
    if copy.is_file() and copy.stat().st_mtime > entry.path.stat().st_mtime:
        return load_asset(copy)
    asset = load_asset(entry.path)
    with atomic_path(copy) as temporary:
        np.savez_compressed(
            temporary,
            allow_pickle=False,
            vertices=asset.vertices,
            faces=asset.faces,
            corner_colors=asset.corner_colors,
            smooth=np.packbits(asset.smooth),
        )
    return asset


def _store_shapes(
    recipe: Recipe, meshes: list[Mesh], folder: Path, threads: int, until: float, seed: int, world: World
) -> None:
    # Every object once before any a second time, and in an order without families, in case time runs out.
    order = sorted(meshes, key=lambda mesh: mesh.digest[::-1])
    jobs = [(mesh, number) for number in range(recipe.views) for mesh in order]
    missing = [job for job in jobs if not (folder / _name(*job)).is_file()]
    bar = ProgressBar("storing shapes", len(missing[world.rank :: world.size]), world.leads)

    def store(job: tuple[Mesh, int]) -> None:
        if time.monotonic() < until:
            _store_shape(recipe, *job, folder, seed)
            bar.advance()

    with ThreadPoolExecutor(threads) as pool:
        for group in _groups(missing[world.rank :: world.size], threads * _QUEUE):
            list(pool.map(store, group))
            if time.monotonic() > until:
                break
    bar.close()


def _store_shape(recipe: Recipe, mesh: Mesh, number: int, folder: Path, seed: int) -> None:
    rng = np.random.default_rng((seed, zlib.crc32(mesh.entry.name.encode()), number))
    view = replace(training_view(mesh.entry.name, rng), mirror=False)
    scene = make_scene(mesh.entry.name, mesh.asset, view)
    cells = {n * recipe.resolution: n + 0.5 for n in (COARSE_CELLS, FINE_CELLS)}
    shape = measure_shape(view, scene.vertices, scene.faces, recipe.structure_resolution, cells)
    write_shape(folder / _name(mesh, number), shape)


def _write_table(path: Path, meshes: list[Mesh], folder: Path, views: int) -> None:
    names = {
        mesh.digest: [name for name in (_name(mesh, n) for n in range(views)) if (folder / name).is_file()]
        for mesh in meshes
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"shapes": names}), encoding="utf-8")


def _name(mesh: Mesh, number: int) -> str:
    return f"{mesh.digest}_{number:02d}.npz"


def _paths(folder: Path, names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(folder / name for name in names)


def _groups(jobs: list, size: int) -> Iterator[list]:
    for first in range(0, len(jobs), size):
        yield jobs[first : first + size]
