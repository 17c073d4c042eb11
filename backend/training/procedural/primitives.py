"""Simple bodies of random sizes: blocks, balls, cans, turned and hollow ones, rings, plates and tubes.

N rings · K points a ring · V vertices · F faces.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from backend.geometry.mesh_files import Asset
from backend.geometry.views import normalised
from backend.training.procedural.solids import extruded, lofted, revolved, superellipsoid, swept

Random = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """make: rings (N, K, 3) · smooth: how often it is shaded smooth · share: how often it comes · closed:
    whether the last ring joins the first.
    """

    make: Callable[[Random], np.ndarray]
    smooth: float
    share: float
    closed: bool = False


def random_primitive(rng: Random) -> Asset:
    """One simple solid, black, about the origin and its longest side 1."""
    kind = KINDS[rng.choice(len(KINDS), p=[kind.share for kind in KINDS])]
    vertices, faces = lofted(kind.make(rng), kind.closed)
    colors, smooth = np.zeros((len(faces), 3, 3), np.uint8), np.full(len(faces), rng.random() < kind.smooth)
    return Asset(normalised(vertices), faces, colors, smooth)


def _around(rng: Random) -> int:
    """Points of a ring: few make prisms, many round bodies."""
    return int(rng.integers(3, 13)) if rng.random() < 0.3 else int(rng.integers(16, 41))


def _extents(rng: Random, spread: float = 0.45) -> np.ndarray:
    return np.exp(rng.normal(0, spread, 3))


def _block(rng: Random) -> np.ndarray:
    square = np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1]])
    taper = rng.uniform(0.3, 1.0) if rng.random() < 0.3 else 1.0
    return extruded(square, 2.0, taper) * _extents(rng, 0.6)


def _rounded(rng: Random) -> np.ndarray:
    upright, across = np.exp(rng.uniform(np.log(0.12), np.log(1.4), 2))
    rows, around = int(rng.integers(12, 25)), 4 * int(rng.integers(4, 11))
    return superellipsoid(upright, across, rows, around) * _extents(rng)


def _ball(rng: Random) -> np.ndarray:
    extents = np.ones(3) if rng.random() < 0.4 else _extents(rng, 0.3)
    rows, around = int(rng.integers(8, 22)), int(rng.integers(10, 33))
    return superellipsoid(1.0, 1.0, rows, around) * extents


def _can(rng: Random) -> np.ndarray:
    low, high = 1.0, rng.uniform(0.0, 1.0) if rng.random() < 0.3 else 1.0
    if rng.random() < 0.3:
        low, high = high, low
    tall = np.exp(rng.normal(0.3, 0.7))
    profile = np.array([[0, 0], [low, 0], [low, 0], [high, tall], [high, tall], [0, tall]])
    flat = rng.uniform(0.5, 1.0) if rng.random() < 0.2 else 1.0
    return revolved(profile, _around(rng)) * [1, flat, 1]


def _turned(rng: Random) -> np.ndarray:
    """A smooth or an angular profile: bottles, posts, bells, fruit."""
    knots = int(rng.integers(3, 7))
    heights = np.cumsum(np.append(0, rng.uniform(0.3, 1.0, knots - 1)))
    radii = rng.uniform(0.15, 1.0, knots) * np.exp(rng.normal(0.2, 0.5))
    if rng.random() < 0.6:
        fine = np.linspace(0, heights[-1], 24)
        radii, heights = np.maximum(CubicSpline(heights, radii)(fine), 0.05), fine
    else:
        radii, heights = np.repeat(radii, 2), np.repeat(heights, 2)
    profile = np.stack([radii, heights], axis=1)
    foot, top = profile[:1], profile[-1:]
    profile = np.concatenate([foot * [0, 1], foot, profile, top, top * [0, 1]])
    return revolved(profile, _around(rng))


def _vessel(rng: Random) -> np.ndarray:
    """Open at the top, with a wall: bowls, plates, cups, pots, pans."""
    tall = np.exp(rng.uniform(np.log(0.12), np.log(2.5)))
    foot, rim = rng.uniform(0.3, 1.0), 1.0 if rng.random() < 0.7 else rng.uniform(0.4, 1.0)
    belly = rng.uniform(0.6, 1.1) if rng.random() < 0.5 else (foot + rim) / 2
    wall = rng.uniform(0.03, 0.14)
    at = np.linspace(0, 1, 12)
    radii = CubicSpline([0, rng.uniform(0.3, 0.7), 1], [foot, belly, rim])(at)
    floor = min(wall, 0.5 * tall)
    outer = np.stack([np.maximum(radii, 0.1), at * tall], axis=1)
    inner = np.stack([np.maximum(radii - wall, 0.02), floor + at * (tall - floor)], axis=1)[::-1]
    edges = outer[:1], outer, outer[-1:], inner[:1], inner, inner[-1:]
    profile = np.concatenate([[[0, 0]], *edges, [[0, floor]]])
    return revolved(profile, _around(rng))


def _ring(rng: Random) -> np.ndarray:
    thick = rng.uniform(0.1, 0.8)
    angles = np.arange(int(rng.integers(6, 17))) * 2 * np.pi
    angles = angles / len(angles)
    section = np.stack([1 + thick * np.cos(angles), thick * rng.uniform(0.5, 1.5) * np.sin(angles)], axis=1)
    return revolved(section, int(rng.integers(12, 41)))


def _plate(rng: Random) -> np.ndarray:
    """A flat piece of any outline, lying or standing."""
    angles = np.arange(48) / 48 * 2 * np.pi
    radius = np.ones(48)
    for wave in range(2, 6):
        radius += rng.normal(0, 0.5 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.4:  # a star or a gear
        radius *= np.where(np.arange(48) // int(rng.choice([2, 3, 4, 6])) % 2, rng.uniform(0.4, 0.9), 1.0)
    outline = np.maximum(radius, 0.2)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = extruded(outline * np.exp(rng.normal(0, 0.4, 2)), rng.uniform(0.06, 0.6))
    return rings[..., [0, 2, 1]] * [1, -1, 1] if rng.random() < 0.5 else rings


def _tube(rng: Random) -> np.ndarray:
    """A bent tube: handles, snakes, horns, pipes."""
    knots = rng.normal(size=(int(rng.integers(3, 6)), 3)) * np.exp(rng.normal(0, 0.5, 3))
    at = np.linspace(0, 1, 28)
    path = CubicSpline(np.linspace(0, 1, len(knots)), knots)(at)
    width = rng.uniform(0.06, 0.3) * np.linalg.norm(np.diff(path, axis=0), axis=1).sum() / 4
    taper = np.linspace(1, rng.uniform(0.1, 1.0), len(at)) if rng.random() < 0.5 else np.ones(len(at))
    return swept(path, width * taper, int(rng.integers(5, 13)))


KINDS = (
    Kind(_block, 0.0, 0.17),
    Kind(_rounded, 0.7, 0.16),
    Kind(_ball, 0.8, 0.10),
    Kind(_can, 0.8, 0.13),
    Kind(_turned, 0.8, 0.13),
    Kind(_vessel, 0.8, 0.14),
    Kind(_ring, 0.7, 0.05, closed=True),
    Kind(_plate, 0.0, 0.06),
    Kind(_tube, 0.8, 0.06),
)
