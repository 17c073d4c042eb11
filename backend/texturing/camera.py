"""The camera of a picture, and how a mesh falls into it. V vertices."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from backend.geometry.render import CROP_MARGIN, camera_position, project, rasterise
from backend.geometry.views import View, fitting_distance, fixed_view, raised_axes, turn

NOMINAL_ELEVATION, NOMINAL_FOV = math.radians(17.5), math.radians(37.5)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at the origin, and the square that is cut out of its picture.

    azimuth counts counter-clockwise seen from above, 0 on −Y · elevation above the horizon, both in radians ·
    distance from the origin · focal: widths of the square at unit depth · centre: where in the square
    (column, row from the top, in widths) the origin falls.
    """

    azimuth: float
    elevation: float
    distance: float
    focal: float
    centre: tuple[float, float] = (0.5, 0.5)

    @property
    def position(self) -> np.ndarray:
        """The eye (3,)."""
        return camera_position(self._view) @ turn(self.azimuth).T

    @property
    def axes(self) -> np.ndarray:
        """Rows right, up and ahead (3, 3)."""
        return raised_axes(self.elevation) @ turn(self.azimuth).T

    @property
    def frame(self) -> np.ndarray:
        """Rows right, up, ahead and the eye (4, 3) f32."""
        return np.concatenate([self.axes, self.position[None]]).astype(np.float32)

    def lens(self, size: int) -> np.ndarray:
        """The focal length and where the origin falls (column, row): (3,) f32, in pixels of `size` a side."""
        return np.array([self.focal, *self.centre], np.float32) * np.float32(size)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (V, 3) -> (V, 3) f64: column and row in widths of the square, and inverse depth."""
        projected = project(points.astype(np.float64) @ turn(self.azimuth), self._view)
        projected[:, :2] = projected[:, :2] * self.focal + np.array(self.centre)
        return projected

    def depths(self, vertices: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest face (S, S), −1 where none is, and its inverse depth (S, S)."""
        points = self.project(vertices)
        points[:, :2] *= size
        return rasterise(points, faces, size)

    @property
    def _view(self) -> View:
        return replace(fixed_view(self.azimuth, self.elevation, NOMINAL_FOV), distance=self.distance)


def around(
    vertices: np.ndarray,
    azimuth: float = 0.0,
    elevation: float = NOMINAL_ELEVATION,
    fov: float = NOMINAL_FOV,
    box: tuple[float, float, float, float] | None = None,
) -> Camera:
    """The camera from that side whose square holds the vertices (V, 3) as a cut-out picture holds its object.

    They fill the `box` (left, top, right, bottom) in widths of the square: both have the same centre and the
    same longer side. Without a box it is the one of a cropped picture.
    """
    margin = (1 - 1 / CROP_MARGIN) / 2
    left, top, right, bottom = box or (margin, margin, 1 - margin, 1 - margin)
    plain = Camera(azimuth, elevation, fitting_distance(fov), 1.0, (0.0, 0.0))
    points = plain.project(vertices)[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    focal = max(right - left, bottom - top) / max(float((high - low).max()), 1e-9)
    middle = np.array([left + right, top + bottom]) / 2 - focal * (low + high) / 2
    return replace(plain, focal=focal, centre=(float(middle[0]), float(middle[1])))
