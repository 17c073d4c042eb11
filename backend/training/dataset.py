"""Training scenes by number: an object, turned to a random view, recoloured; and what the parts learn from
it.

Everything about item `index` of a batch at `step` follows from (seed, step, index), so nothing has to be
stored.
V vertices · F faces · L voxels · R resolution · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from backend.geometry.mesh_files import Asset, Entry, group_weights, load_asset
from backend.geometry.render import CROP_MARGIN, render
from backend.geometry.surface import DistanceField, distance_field, nearest_colors, voxel_colors, voxelise
from backend.geometry.views import View, align, training_view
from backend.lifting.surface import COARSE_CELLS, THICKENING
from backend.training.data.stored_shape import StoredShape
from backend.training.procedural.objects import made_object

FINE_CELLS = 4  # cubes of the mesh grid a voxel side
COLOR_REACH = 2.0  # voxels from the surface at which its colour still counts
_STRETCH = 0.35  # of the logarithm of the size along an axis


@dataclass(frozen=True)
class Scene:
    """An object in the model's frame: vertices (V, 3) f64, and how it is looked at.

    The vertices are as the view's camera sees them, centred, the longest side `LONGEST_SIDE`. `stored` holds
    what was found out about it before, if anything was.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    corner_colors: np.ndarray
    smooth: np.ndarray
    view: View
    stored: StoredShape | None = None


@dataclass(frozen=True)
class Variety:
    """How much is made up, and how much of the rest is stretched, as shares of what is shown."""

    made: float = 0.0
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
        if rng.random() < self.variety.made:
            name = f"made up {step} {index}"
            return make_scene(name, made_object(rng), training_view(name, rng)), rng
        number = self.draw(self._cumulative, rng)
        name, asset = self.entries[number].name, recolored(self.asset(number), rng)
        if rng.random() < self.variety.stretched:
            asset = stretched(asset, rng)
        return make_scene(name, asset, training_view(name, rng)), rng

    @property
    def stored(self) -> bool:
        """Whether distances to surfaces are stored."""
        return False

    def asset(self, number: int) -> Asset:
        """The mesh of an entry, read once."""
        if number not in self._assets:
            self._assets[number] = load_asset(self.entries[number].path)
        return self._assets[number]

    def draw(self, cumulative: np.ndarray, rng: np.random.Generator) -> int:
        """The number of an entry, from running sums of their probabilities (N,)."""
        return min(int(np.searchsorted(cumulative, rng.random())), len(self.entries) - 1)


def make_scene(name: str, asset: Asset, view: View) -> Scene:
    """Turns an asset into the view's frame."""
    vertices, faces, colors = align(asset.vertices, view.azimuth), asset.faces, asset.corner_colors
    if view.mirror:
        vertices = vertices * np.array([-1.0, 1.0, 1.0])
        faces, colors = np.ascontiguousarray(faces[:, ::-1]), np.ascontiguousarray(colors[:, ::-1])
    return Scene(name, vertices, faces, colors, asset.smooth, view)


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


def picture(scene: Scene, size: int, margin: float = CROP_MARGIN) -> np.ndarray:
    """The scene as the image encoder sees it: (4, S, S) f32, colour on black and alpha."""
    drawn = render(scene.vertices, scene.faces, scene.corner_colors, scene.smooth, scene.view, size, margin)
    return np.concatenate([drawn.color.transpose(2, 0, 1), drawn.alpha[None]])


def occupancy(scene: Scene, resolution: int) -> np.ndarray:
    """(R, R, R) bool."""
    if scene.stored is not None and scene.stored.resolution == resolution:
        return scene.stored.occupancy(scene.view.mirror)
    return voxelise(scene.vertices, scene.faces, resolution)


def solid(occupied: np.ndarray) -> np.ndarray:
    """The surface's voxels (R, R, R) with all that they hide from the left, right, front, back and above.

    Few assets are watertight and many have no bottom, so being enclosed is too much to ask.
    """
    hidden = np.ones_like(occupied)
    for axis in range(3):
        hidden &= np.flip(np.logical_or.accumulate(np.flip(occupied, axis), axis), axis)
        if axis < 2:
            hidden &= np.logical_or.accumulate(occupied, axis)
    return hidden


def surface_tints(scene: Scene, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours (3, r, r, r) u8 of the surface nearest to each voxel, and which voxels are near it, bool."""
    tint, known = voxel_colors(scene.vertices, scene.faces, scene.corner_colors, resolution)
    # A predicted surface lies beside the true one, and should look like it there too.
    distance, nearest = ndimage.distance_transform_edt(~known, return_indices=True)
    return np.rint(tint[tuple(nearest)] * 255).astype(np.uint8).transpose(3, 0, 1, 2), distance <= COLOR_REACH


def surface_field(scene: Scene, cells: int, band: float, box: tuple[np.ndarray, np.ndarray]) -> DistanceField:
    """`distance_field` of a scene, from what is stored of it if that will do."""
    if scene.stored is not None and cells in scene.stored.grids:
        grid = scene.stored.grids[cells]
        if grid.band == band:
            return grid.field(scene.vertices, scene.faces, scene.view.mirror, box)
    return distance_field(scene.vertices, scene.faces, cells, band, box)


def pooled_occupancy(occupied: np.ndarray, resolution: int) -> np.ndarray:
    """(R, R, R) -> (r, r, r): a coarse voxel is occupied where any of those in it is."""
    factor = len(occupied) // resolution
    blocks = occupied.reshape(resolution, factor, resolution, factor, resolution, factor)
    return np.logical_or.reduce(blocks, axis=(1, 3, 5))


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


def coarse_field(scene: Scene, coords: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance in voxels, clipped to ±1, and colour at (2R + 1)³ corners: (n, n, n) and (n, n, n, 3).

    Only what lies round the voxels coords (L, 3) is looked at.
    """
    cells = COARSE_CELLS * resolution
    box = coords.min(axis=0) * COARSE_CELLS, (coords.max(axis=0) + 1) * COARSE_CELLS
    field = surface_field(scene, cells, COARSE_CELLS + 0.5, box)
    return voxel_distance(field.distance, COARSE_CELLS, resolution), corner_colors(scene, field, cells)


def voxel_distance(distance: np.ndarray, cells_per_voxel: int, resolution: int) -> np.ndarray:
    """Distance in cells -> distance to the thickened surface in voxels, clipped to ±1, f32."""
    return np.clip(distance / cells_per_voxel - THICKENING * resolution, -1, 1).astype(np.float32)


def corner_colors(scene: Scene, field: DistanceField, cells: int) -> np.ndarray:
    """(n, n, n, 3) f32 in [0, 1]; grey beyond the band."""
    colors = np.full((*field.face.shape, 3), 0.5, np.float32)
    near = np.argwhere(field.face >= 0)
    index = tuple(near.T)
    colors[index] = nearest_colors(
        near, field.face[index], scene.vertices, scene.faces, scene.corner_colors, cells
    )
    return colors


def voxel_features(scene: Scene, coords: np.ndarray, resolution: int) -> np.ndarray:
    """The encoder's input (L, FEATURES) f32: distance and centred colour at the 3³ corners in and around each
    voxel.
    """
    distance, colors = coarse_field(scene, coords, resolution)
    offsets = np.stack(np.meshgrid(*[np.arange(COARSE_CELLS + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = coords[:, None] * COARSE_CELLS + offsets
    index = tuple(np.moveaxis(places, -1, 0))
    near = np.abs(distance[index]) < 0.999
    tints = (colors[index] * 2 - 1) * near[..., None]
    return np.concatenate([distance[index], tints.reshape(len(coords), -1)], axis=1).astype(np.float32)
