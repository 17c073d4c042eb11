"""Training scenes by number: an object, turned to a random view, recoloured; and what the parts learn from
it.

Everything about item `index` of a batch at `step` follows from (seed, step, index), so nothing has to be
stored.
V vertices · F faces · L voxels · R resolution · S picture size.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from backend.geometry.mesh_files import Asset, Entry, group_weights, load_asset
from backend.geometry.scene import Scene, make_scene, occupancy, pooled_occupancy
from backend.geometry.views import training_view
from backend.geometry.voxelize import sampled_colors
from backend.training.procedural.objects import procedural_object

FINE_CELLS = 4  # cubes of the mesh grid a voxel side
COLOR_REACH = 2.0  # voxels from the surface at which its colour still counts
_STRETCH = 0.35  # of the logarithm of the size along an axis


@dataclass(frozen=True)
class Variety:
    """Shares of what is shown: procedural objects, and stretched ones among the rest."""

    procedural: float = 0.0
    stretched: float = 0.0


class ObjectSource:
    """Draws scenes from a catalogue; meshes stay in memory once read.

    Every group of shape variants comes equally often.
    """

    def __init__(self, entries: tuple[Entry, ...], seed: int = 0, variety: Variety = Variety()):
        self.entries = entries
        self.seed = seed
        self.variety = variety
        self._cumulative = np.cumsum(group_weights(entries))
        self._assets: dict[int, Asset] = {}

    def scene(self, step: int, index: int = 0, surface: bool = False) -> tuple[Scene, np.random.Generator]:
        """The scene of that number and a generator for further random choices about it.

        `surface` says that distances to it will be asked for, which a source may have stored.
        """
        rng = np.random.default_rng((self.seed, step, index))
        if rng.random() < self.variety.procedural:
            name = f"made up {step} {index}"  # which decides on the directions it is seen from
            return make_scene(name, procedural_object(rng), training_view(name, rng)), rng
        number = self.draw(self._cumulative, rng)
        name, asset = self.entries[number].name, recolored(self.asset(number), rng)
        if rng.random() < self.variety.stretched:
            asset = stretched(asset, rng)
        return make_scene(name, asset, training_view(name, rng)), rng

    def asset(self, number: int) -> Asset:
        """The mesh of an entry, read once."""
        if number not in self._assets:
            self._assets[number] = load_asset(self.entries[number].path, split=True)
        return self._assets[number]

    def draw(self, cumulative: np.ndarray, rng: np.random.Generator) -> int:
        """The number of an entry, from running sums of their probabilities (N,)."""
        return min(int(np.searchsorted(cumulative, rng.random())), len(self.entries) - 1)


def recolored(asset: Asset, rng: np.random.Generator) -> Asset:
    """Half of the time other colours: channels permuted, and a random gamma."""
    if rng.random() < 0.5:
        return asset
    values = (np.arange(256) / 255) ** float(np.exp(rng.uniform(-0.4, 0.4))) * 255
    colors = values.round().astype(np.uint8)[asset.corner_colors[..., rng.permutation(3)]]
    return Asset(asset.vertices, asset.faces, colors, asset.smooth)


def stretched(asset: Asset, rng: np.random.Generator) -> Asset:
    """Made longer or shorter along each axis."""
    factors = np.exp(rng.uniform(-_STRETCH, _STRETCH, 3)).astype(np.float32)
    return replace(asset, vertices=asset.vertices * factors)


def surface_tints(scene: Scene, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours (3, r, r, r) u8 of the surface nearest to each voxel, and which voxels are near it, bool."""
    tint, known = sampled_colors(scene.vertices, scene.faces, scene.corner_colors, resolution)
    # A predicted surface lies beside the true one, and should look like it there too.
    distance, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    return np.rint(tint[tuple(nearest)] * 255).astype(np.uint8).transpose(3, 0, 1, 2), distance <= COLOR_REACH


def grown_coords(scene: Scene, fine: int, coarse: int, rng: np.random.Generator) -> np.ndarray:
    """Voxels (L, 3) i32 of the structured latent at `coarse`, of a structure at `fine`, grown."""
    return np.argwhere(grown(pooled_occupancy(occupancy(scene, fine), coarse), rng)).astype(np.int32)


def grown(occupied: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The occupancy with patches thickened by a voxel or two and a few lost, as a generated structure has
    them.
    """
    size = occupied.shape[0]
    once, twice = ndimage.binary_dilation(occupied), ndimage.binary_dilation(occupied, iterations=2)
    field = ndimage.zoom(rng.normal(size=(5, 5, 5)), size / 5, order=1)
    amount = rng.uniform(-2.0, 1.5)
    result = occupied | (once & (field < amount)) | (twice & (field < amount - 1.2))
    lost = ndimage.zoom(rng.normal(size=(8, 8, 8)), size / 8, order=1)
    result &= lost < rng.uniform(1.6, 4.0)
    return result if result.any() else occupied
