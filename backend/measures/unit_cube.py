"""The frame in which everything is compared: the unit cube, turned as the picture shows the object.

The camera stands on −Y, the picture's right is +X, up is +Z; the object is centred and its longest side is
`LONGEST_SIDE`. What view-aligned models make is in this very frame and compared as it stands. Models with a
published image encoder make objects as they were modelled, front on −Y, whatever the picture shows: these are
turned by the camera's azimuth, then moved and scaled by their own bounding box, for a turned object has
another longest side.
V vertices · N points or Gaussians · R resolution.
"""

from dataclasses import dataclass

import numpy as np

from backend.geometry.views import LONGEST_SIDE, turn, turned
from backend.representations.gaussians import Gaussians
from backend.representations.rotations import quaternions, rotation_matrices

RESOLUTION = 64


@dataclass(frozen=True)
class Placement:
    """x -> scale · R x + offset, where R turns the object as a camera of that azimuth sees it."""

    azimuth: float = 0.0
    scale: float = 1.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) -> (N, 3)."""
        return turned(points, self.azimuth) * self.scale + np.array(self.offset)

    def invert(self, points: np.ndarray) -> np.ndarray:
        """Where points (N, 3) of the unit cube come from."""
        return turned((points - np.array(self.offset)) / self.scale, -self.azimuth)


def placement(points: np.ndarray, azimuth: float = 0.0) -> Placement:
    """What brings points (N, 3), N > 0, into the frame of the truth."""
    points = turned(points.astype(np.float64), azimuth)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = LONGEST_SIDE / max(float((high - low).max()), 1e-9)
    x, y, z = (-(low + high) / 2 * scale).tolist()
    return Placement(azimuth, scale, (x, y, z))


def place_gaussians(gaussians: Gaussians, where: Placement) -> Gaussians:
    """The Gaussians moved, turned and scaled."""
    position, rotation = gaussians.position.cpu().double(), gaussians.rotation.cpu().double()
    matrix = rotation.new_tensor(turn(where.azimuth).T)
    rotation = quaternions(matrix @ rotation_matrices(rotation)).float()
    return Gaussians(
        position=position.new_tensor(where.apply(position.numpy())).float(),
        color_dc=gaussians.color_dc.float().cpu(),
        opacity=gaussians.opacity.float().cpu(),
        scale=gaussians.scale.float().cpu() * where.scale,
        rotation=rotation,
    )


def unit_occupancy(occupied: np.ndarray, azimuth: float = 0.0) -> np.ndarray:
    """(R, R, R) bool of the model's cube -> (64, 64, 64) bool of the unit cube.

    The object is turned and normalised by the bounding box of all its voxels. A voxel is occupied where its
    centre, taken back, lies in an occupied voxel. Empty stays empty.
    """
    if not occupied.any():
        return np.zeros((RESOLUTION,) * 3, bool)
    size = len(occupied)
    low = np.argwhere(occupied)
    corners = np.concatenate([low + np.array(step) for step in np.ndindex(2, 2, 2)]) / size - 0.5
    where = placement(corners, azimuth)
    centres = (
        np.stack(np.meshgrid(*[np.arange(RESOLUTION)] * 3, indexing="ij"), -1) + 0.5
    ) / RESOLUTION - 0.5
    source = np.floor((where.invert(centres.reshape(-1, 3)) + 0.5) * size + 1e-9).astype(np.int64)
    inside = ((source >= 0) & (source < size)).all(axis=1)
    result = np.zeros(len(source), bool)
    result[inside] = occupied[tuple(source[inside].T)]
    return result.reshape((RESOLUTION,) * 3)
