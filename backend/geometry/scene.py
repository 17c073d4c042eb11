"""An object as a view's camera sees it: its mesh, voxels, distances and picture. All in the unit cube.

V vertices · F faces · R, r resolutions · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backend.geometry.mesh_files import Asset
from backend.geometry.render import CROP_MARGIN, render
from backend.geometry.stored_shape import StoredShape
from backend.geometry.surface import DistanceField, distance_field
from backend.geometry.views import View, align, normalised, turned
from backend.geometry.voxelize import sampled_occupancy


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

    @property
    def mesh(self) -> Asset:
        """The object alone."""
        return Asset(self.vertices, self.faces, self.corner_colors, self.smooth)


def make_scene(name: str, asset: Asset, view: View) -> Scene:
    """Turns an asset into the view's frame."""
    vertices, faces, colors = align(asset.vertices, view.azimuth), asset.faces, asset.corner_colors
    if view.mirror:
        vertices = vertices * np.array([-1.0, 1.0, 1.0])
        faces, colors = np.ascontiguousarray(faces[:, ::-1]), np.ascontiguousarray(colors[:, ::-1])
    return Scene(name, vertices, faces, colors, asset.smooth, view)


def canonical_mesh(asset: Asset) -> Asset:
    """The asset in the frame of the published models: centred, its longest side 1, not turned to any view."""
    return replace(asset, vertices=normalised(asset.vertices.astype(np.float64)))


def turned_mesh(asset: Asset, azimuth: float) -> Asset:
    """The asset as the camera of that azimuth has it, which then stands on −Y."""
    return replace(asset, vertices=turned(asset.vertices, azimuth))


def picture(scene: Scene, size: int, margin: float = CROP_MARGIN) -> np.ndarray:
    """The scene as the image encoder sees it: (4, S, S) f32, colour on black and alpha."""
    drawn = render(scene.mesh, scene.view, size, margin)
    return np.concatenate([drawn.color.transpose(2, 0, 1), drawn.alpha[None]])


def occupancy(scene: Scene, resolution: int) -> np.ndarray:
    """(R, R, R) bool: the voxels that the surface crosses."""
    if scene.stored is not None and scene.stored.resolution == resolution:
        return scene.stored.occupancy(scene.view.mirror)
    return sampled_occupancy(scene.vertices, scene.faces, resolution)


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
    return np.asarray(blocks.any(axis=(1, 3, 5)))
