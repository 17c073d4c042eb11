"""Finding the camera of a picture: the one from which the mesh has the picture's outline and colours.

From coarse to fine: views from all sides that may be meant are compared at a small size, the best few are
refined. V vertices · F faces · S picture size · Z size of the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from scipy.optimize import minimize

from backend.texturing.camera import NOMINAL_ELEVATION, NOMINAL_FOV, Camera, around

_SIZE = 64
_SAMPLES = 2  # a side, in a pixel of the comparison
_CELLS = 40  # along the longest side of the mesh that is compared
_STARTS = 3
_COLOR = 0.5  # what colours that are all wrong take off the overlap
# What elevations and fields of view far from the nominal ones cost: outlines alone tell little about them.
_UNUSUAL = 0.02, math.radians(20), math.log(1.5)
_ELEVATIONS = tuple(math.radians(degrees) for degrees in (-10, 5, 17.5, 30, 45))
ALL_ROUND = tuple(2 * math.pi * step / 24 for step in range(24))
GOOD_OVERLAP = 0.75
"""From which on the outlines agree well enough to trust a camera that was found among all sides."""


@dataclass(frozen=True)
class Fit:
    """overlap: what picture and mesh have in common, over what either covers."""

    camera: Camera
    overlap: float


def fit_camera(
    vertices: np.ndarray,
    faces: np.ndarray,
    pixels: np.ndarray,
    colors: np.ndarray | None = None,
    azimuths: Sequence[float] = (0.0,),
) -> Fit:
    """The camera of a picture (S, S, 4) u8 of the mesh (V, 3), (F, 3) with vertex colours (V, 3) in [0, 1].

    With one azimuth, that one is kept; among several the best is refined.
    """
    target = _Target.of(vertices, faces, pixels, colors)
    guesses = [
        around(target.vertices, azimuth, elevation, NOMINAL_FOV, target.box)
        for azimuth in azimuths
        for elevation in _ELEVATIONS
    ]
    guesses.sort(key=target.cost)
    with ThreadPoolExecutor(_STARTS) as pool:  # drawing, which takes most of the time, runs side by side
        refined = list(pool.map(lambda guess: _refined(target, guess, len(azimuths) > 1), guesses[:_STARTS]))
    best = min(refined, key=target.cost)
    return Fit(best, target.overlap(best))


@dataclass(frozen=True)
class _Target:
    """What a camera must make of a coarse mesh with face colours (F, 3): picture (Z, Z, 4) f32."""

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None
    picture: np.ndarray
    box: tuple[float, float, float, float]

    @classmethod
    def of(
        cls, vertices: np.ndarray, faces: np.ndarray, pixels: np.ndarray, colors: np.ndarray | None
    ) -> _Target:
        points, triangles, tints = _coarse(vertices, faces, colors)
        alpha = pixels[..., 3] > 127
        rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
        box = (0.1, 0.1, 0.9, 0.9)
        if len(rows):
            size = len(pixels)
            box = columns[0] / size, rows[0] / size, (columns[-1] + 1) / size, (rows[-1] + 1) / size
        return cls(points, triangles, tints, _small(pixels), box)

    def cost(self, camera: Camera) -> float:
        drawn, color = self._drawn(camera)
        alpha = self.picture[..., 3]
        result = 1 - self._overlap(drawn)
        if color is not None:
            common = np.minimum(drawn, alpha)
            error = np.abs(color - self.picture[..., :3]).mean(axis=-1)
            result += _COLOR * float((error * common).sum() / max(common.sum(), 1e-6))
        weight, angle, zoom = _UNUSUAL
        fov = 2 * math.asin(min(1.0, math.sqrt(0.75) / camera.distance))
        unusual = (camera.elevation - NOMINAL_ELEVATION) / angle, math.log(fov / NOMINAL_FOV) / zoom
        return result + weight * (unusual[0] ** 2 + unusual[1] ** 2)

    def overlap(self, camera: Camera) -> float:
        return self._overlap(self._drawn(camera)[0])

    def _overlap(self, drawn: np.ndarray) -> float:
        alpha = self.picture[..., 3]
        return float(np.minimum(drawn, alpha).sum() / max(np.maximum(drawn, alpha).sum(), 1e-6))

    def _drawn(self, camera: Camera) -> tuple[np.ndarray, np.ndarray | None]:
        """Alpha (Z, Z) and colours (Z, Z, 3) of the mesh."""
        ids, _ = camera.depths(self.vertices, self.faces, _SIZE * _SAMPLES)
        return _averaged(ids, self.colors)


def _refined(target: _Target, guess: Camera, turning: bool) -> Camera:
    """The best camera near a guess: another elevation, distance, size and place, and azimuth if `turning`."""

    def camera(steps: np.ndarray) -> Camera:
        nearer = math.exp(steps[1])
        return replace(
            guess,
            azimuth=guess.azimuth + (float(steps[5]) if turning else 0.0),
            elevation=guess.elevation + float(steps[0]),
            distance=max(guess.distance * nearer, 1.0),
            focal=guess.focal * nearer * math.exp(steps[2]),
            centre=(guess.centre[0] + float(steps[3]), guess.centre[1] + float(steps[4])),
        )

    sizes = np.array([math.radians(8), 0.15, 0.03, 0.015, 0.015, math.radians(7)])[: 6 if turning else 5]
    simplex = np.concatenate([np.zeros((1, len(sizes))), np.diag(sizes)])
    options = {"initial_simplex": simplex, "maxfev": 160, "xatol": 2e-3, "fatol": 1e-4}
    found = minimize(
        lambda steps: target.cost(camera(steps)), np.zeros(len(sizes)), method="Nelder-Mead", options=options
    )
    return camera(found.x)


def _coarse(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A mesh of the same outline with far fewer faces: vertices in one cell of a grid become their mean."""
    low, side = vertices.min(axis=0), max(float(np.ptp(vertices, axis=0).max()), 1e-9)
    cells = ((vertices - low) / side * _CELLS).astype(np.int64)
    keys = (cells[:, 0] * (_CELLS + 1) + cells[:, 1]) * (_CELLS + 1) + cells[:, 2]
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)

    def means(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(group, column) for column in values.T], axis=1) / counts[:, None]

    merged = np.sort(group[faces], axis=1)
    merged = np.unique(merged[(np.diff(merged, axis=1) > 0).all(axis=1)], axis=0)
    tints = None if colors is None else means(colors)[merged].mean(axis=1).astype(np.float32)
    return means(vertices.astype(np.float64)), merged, tints


def _small(pixels: np.ndarray) -> np.ndarray:
    """A picture (S, S, 4) u8 as (Z, Z, 4) f32 in [0, 1], colours not multiplied by alpha."""
    edges = np.linspace(0, len(pixels), _SIZE + 1).astype(int)
    values = pixels.astype(np.float64) / 255
    values[..., :3] *= values[..., 3:]
    for axis in (0, 1):
        sums = np.add.reduceat(values, edges[:-1], axis=axis)
        values = sums / np.diff(edges).reshape([-1 if n == axis else 1 for n in range(3)])
    values[..., :3] /= np.maximum(values[..., 3:], 1e-6)
    return values.astype(np.float32)


def _averaged(ids: np.ndarray, colors: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Faces (Z·n, Z·n), −1 where none is, and their colours (F, 3) f32 -> alpha (Z, Z), colours (Z, Z, 3)."""
    if colors is None:
        return _summed(ids, np.zeros((0, 3), np.float32), _SAMPLES)[..., 3], None
    sums = _summed(ids, colors, _SAMPLES)
    return sums[..., 3], sums[..., :3] / np.maximum(sums[..., 3:], 1e-6)


@njit(nogil=True, cache=True)
def _summed(ids, colors, samples):
    """Means (Z, Z, 4) f32 of the colours and of whether there are any, in squares of so many samples."""
    size = ids.shape[0] // samples
    result = np.zeros((size, size, 4), np.float32)
    for row in range(size * samples):
        for column in range(size * samples):
            face = ids[row, column]
            if face < 0:
                continue
            mean = result[row // samples, column // samples]
            mean[3] += np.float32(1)
            if colors.shape[0] > 0:
                for k in range(3):
                    mean[k] += colors[face, k]
    result /= np.float32(samples * samples)
    return result
