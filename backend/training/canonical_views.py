"""The published frame: an object in the unit cube, Z up, not turned to any view; and cameras round it.

Cameras and lights are those of the published data preparation: directions from a Hammersley sequence on the
sphere, a quarter of them from below. V vertices · S picture size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from backend.geometry.mesh_files import Asset
from backend.geometry.render import Picture, cutout, render, render_whole
from backend.geometry.views import Light, View, normalised, turned
from backend.models.structured_latent_vae import radical_inverse

FEATURE_DISTANCE = 2.0
FEATURE_FOV = math.radians(40)
WIDEST_FOV, NARROWEST_FOV = math.radians(70), math.radians(10)
SPHERE_RADIUS = math.sqrt(0.75)  # of the unit cube
CUTOUT_SIZE = 640
CUTOUT_MARGIN = 1.3

_ABOVE = (0.15, -0.1, 1.0)


@dataclass(frozen=True)
class CanonicalObject:
    """vertices (V, 3) f64, centred with the longest side 1; the rest as in the asset."""

    vertices: np.ndarray
    faces: np.ndarray
    corner_colors: np.ndarray
    smooth: np.ndarray


def canonical_object(asset: Asset) -> CanonicalObject:
    """The asset in the published frame."""
    vertices = normalised(asset.vertices.astype(np.float64))
    return CanonicalObject(vertices, asset.faces, asset.corner_colors, asset.smooth)


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
        near, far = (SPHERE_RADIUS / math.sin(fov / 2) for fov in (WIDEST_FOV, NARROWEST_FOV))
        distance = 1 / math.sqrt(rng.uniform(1 / far**2, 1 / near**2))
        fov = 2 * math.asin(SPHERE_RADIUS / distance)
        ambient = rng.uniform(0.4, 0.8)
        towards = rng.normal(size=3) + np.array([0.0, -0.8, 1.2])
        light = Light(tuple(towards / np.linalg.norm(towards)), ambient, rng.uniform(0.85, 1.15) - ambient)
        views.append(View(azimuth, elevation, fov, distance, light))
    return views


def draw_whole(item: CanonicalObject, view: View, size: int) -> Picture:
    """The object where the view's camera has it, S = size."""
    vertices = turned(item.vertices, view.azimuth)
    return render_whole(vertices, item.faces, item.corner_colors, item.smooth, view, size)


def draw_cutout(item: CanonicalObject, view: View) -> Image.Image:
    """The object as a picture file would show it, RGBA, filling the picture."""
    vertices = turned(item.vertices, view.azimuth)
    drawn = render(
        vertices, item.faces, item.corner_colors, item.smooth, view, CUTOUT_SIZE, margin=CUTOUT_MARGIN
    )
    return cutout(drawn)


def _directions(count: int, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Azimuth and elevation of `count` cameras spread over the sphere, the whole set turned at random."""
    shift = rng.random(2)
    for number in range(count):
        u, v = (number + shift[0]) / count, radical_inverse(2, number) + shift[1]
        u = 2 * u if u < 0.25 else 2 / 3 * u + 1 / 3
        # The published yaw is counted from +X, this software's azimuth from −Y.
        yield 2 * math.pi * v + math.pi / 2, math.acos(1 - 2 * u) - math.pi / 2


def _light(towards: tuple[float, float, float], ambient: float, diffuse: float, azimuth: float) -> Light:
    """A light fixed to the object, as the turned camera has it."""
    direction = turned(np.array(towards) / np.linalg.norm(towards), azimuth)
    return Light(tuple(direction.tolist()), ambient, diffuse)
