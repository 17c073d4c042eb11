"""From which side an object is seen, and the frame that follows.

View-aligned models stand objects as the camera on −Y sees them. Azimuth turns the camera counter-clockwise
seen from above, 0 = the object's front (−Y). Of every object a 30° sector of azimuths is never trained on.
Published models keep the object's own frame, with cameras round it as in the published data preparation:
directions from a Hammersley sequence on the sphere, a quarter of them from below.
Angles are radians. V vertices.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

HELD_OUT_SECTOR = math.radians(30)
# Not quite 1: the mesh grid ends at the cube's border, and what lies on it would get no faces.
LONGEST_SIDE = 0.98
FEATURE_DISTANCE, FEATURE_FOV = 2.0, math.radians(40)
WIDEST_FOV, NARROWEST_FOV = math.radians(70), math.radians(10)
SPHERE_RADIUS = math.sqrt(0.75)  # of the unit cube
_ABOVE = (0.15, -0.1, 1.0)


@dataclass(frozen=True)
class Light:
    """direction (3,) towards the light in camera-aligned space · ambient + diffuse = 1 means no
    over-exposure.
    """

    direction: tuple[float, float, float]
    ambient: float
    diffuse: float


@dataclass(frozen=True)
class View:
    """A camera at `distance` from the origin, raised by `elevation`; `mirror` flips the finished scene in
    X.
    """

    azimuth: float
    elevation: float
    fov: float
    distance: float
    light: Light
    mirror: bool = False


def held_out_azimuth(name: str) -> float:
    """Centre of the object's sector that training never sees; a fixed function of its name."""
    return zlib.crc32(name.encode()) / 2**32 * 2 * math.pi


def training_view(name: str, rng: np.random.Generator) -> View:
    """A random view from outside the held-out sector."""
    width = 2 * math.pi - HELD_OUT_SECTOR
    azimuth = held_out_azimuth(name) + HELD_OUT_SECTOR / 2 + rng.uniform(0, width)
    return _random_view(azimuth, rng, mirror=bool(rng.random() < 0.5))


def held_out_view(name: str, rng: np.random.Generator) -> View:
    """A random view from the inner half of the held-out sector."""
    azimuth = held_out_azimuth(name) + rng.uniform(-0.25, 0.25) * HELD_OUT_SECTOR
    return _random_view(azimuth, rng, mirror=False)


def random_view(rng: np.random.Generator) -> View:
    """A random view from any side."""
    return _random_view(rng.uniform(0, 2 * math.pi), rng, mirror=False)


def fixed_view(azimuth: float, elevation: float, fov: float) -> View:
    """A view with a calm light, for evaluation."""
    return View(azimuth, elevation, fov, fitting_distance(fov), Light((-0.4, -0.7, 0.6), 0.55, 0.5))


def fitting_distance(fov: float) -> float:
    """Where a camera must stand so that the unit cube's sphere fills its field of view."""
    return SPHERE_RADIUS / math.sin(fov / 2)


def feature_views(count: int, rng: np.random.Generator) -> list[View]:
    """Views whose features are averaged: one distance, one field of view, a light fixed to the object."""
    return [
        View(azimuth, elevation, FEATURE_FOV, FEATURE_DISTANCE, _light(_ABOVE, 0.6, 0.45, azimuth))
        for azimuth, elevation in _directions(count, rng)
    ]


def picture_views(count: int, rng: np.random.Generator) -> list[View]:
    """Views that stand for users' pictures: fields of view from 10° to 70°, each as near as it fits."""
    views = []
    for azimuth, elevation in _directions(count, rng):
        near, far = fitting_distance(WIDEST_FOV), fitting_distance(NARROWEST_FOV)
        distance = 1 / math.sqrt(rng.uniform(1 / far**2, 1 / near**2))
        fov = 2 * math.asin(SPHERE_RADIUS / distance)
        ambient = rng.uniform(0.4, 0.8)
        towards = rng.normal(size=3) + np.array([0.0, -0.8, 1.2])
        light = Light(tuple(towards / np.linalg.norm(towards)), ambient, rng.uniform(0.85, 1.15) - ambient)
        views.append(View(azimuth, elevation, fov, distance, light))
    return views


def align(vertices: np.ndarray, azimuth: float) -> np.ndarray:
    """(V, 3) -> (V, 3) turned so that the camera of that azimuth stands on −Y, in the model's frame."""
    return LONGEST_SIDE * normalised(turned(vertices.astype(np.float64), azimuth))


def turned(points: np.ndarray, azimuth: float) -> np.ndarray:
    """(..., 3) as seen by the camera of that azimuth, which then stands on −Y."""
    return points @ turn(azimuth)


def turn(azimuth: float) -> np.ndarray:
    """The matrix (3, 3) that rows of points are multiplied with to bring that azimuth's camera to −Y."""
    c, s = math.cos(azimuth), math.sin(azimuth)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def raised_axes(elevation: float) -> np.ndarray:
    """Rows right, up and ahead (3, 3) of a camera on the −Y side that is raised by so much."""
    c, s = math.cos(elevation), math.sin(elevation)
    return np.array([[1.0, 0.0, 0.0], [0.0, s, c], [0.0, c, -s]])


def normalised(vertices: np.ndarray) -> np.ndarray:
    """(V, 3) moved and scaled: centred, longest side 1."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return (vertices - (low + high) / 2) / max(float((high - low).max()), 1e-9)


def _random_view(azimuth: float, rng: np.random.Generator, mirror: bool) -> View:
    fov = math.radians(rng.uniform(25, 50))
    elevation = math.radians(rng.uniform(-10, 45))
    direction = rng.normal(size=3) + np.array([0.0, -1.2, 1.2])
    direction /= np.linalg.norm(direction)
    ambient = rng.uniform(0.35, 0.8)
    light = Light(tuple(direction), ambient, rng.uniform(0.8, 1.15) - ambient)
    return View(
        azimuth % (2 * math.pi),
        elevation,
        fov,
        fitting_distance(fov) * rng.uniform(0.85, 1.25),
        light,
        mirror,
    )


def _directions(count: int, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Azimuth and elevation of `count` cameras spread over the sphere, the whole set turned at random."""
    shift = rng.random(2)
    for number in range(count):
        u, v = (number + shift[0]) / count, _radical_inverse(number) + shift[1]
        u = 2 * u if u < 0.25 else 2 / 3 * u + 1 / 3
        # The published yaw is counted from +X, this software's azimuth from −Y.
        yield 2 * math.pi * v + math.pi / 2, math.acos(1 - 2 * u) - math.pi / 2


def _light(towards: tuple[float, float, float], ambient: float, diffuse: float, azimuth: float) -> Light:
    """A light fixed to the object, as the turned camera has it."""
    direction = turned(np.array(towards) / np.linalg.norm(towards), azimuth)
    return Light(tuple(direction.tolist()), ambient, diffuse)


def _radical_inverse(number: int) -> float:
    """Binary digits mirrored at the point."""
    return int(f"{number:032b}"[::-1], 2) / 2**32
