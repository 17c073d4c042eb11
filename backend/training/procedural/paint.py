"""Colours for procedural objects: plain, banded, graded, blotched or speckled."""

from dataclasses import replace

import numpy as np

from backend.geometry.mesh_files import Asset

_DARKEST = 0.12  # darker ones would count as background


def painted(asset: Asset, rng: np.random.Generator) -> Asset:
    """An asset about the origin, longest side 1, in other colours."""
    first, second = random_color(rng), random_color(rng)
    corners = asset.vertices[asset.faces]
    kind = rng.random()
    if kind < 0.5:
        share = np.zeros(corners.shape[:2])
    elif kind < 0.6:
        share = corners @ _direction(rng) + 0.5
    elif kind < 0.72:  # of whole faces, so that bands end sharply
        across = corners.mean(axis=1, keepdims=True) @ _direction(rng)
        share = np.broadcast_to(np.floor(across * rng.uniform(2, 9)) % 2, corners.shape[:2])
    elif kind < 0.88:
        share = np.full(corners.shape[:2], 0.5)
        for _ in range(3):
            waves = rng.uniform(4, 20) * (corners @ _direction(rng)) + rng.uniform(0, 2 * np.pi)
            share += rng.uniform(0.2, 0.8) * np.sin(waves)
    else:
        share = np.broadcast_to(rng.random((len(corners), 1)), corners.shape[:2])
    share = np.clip(share, 0, 1)[..., None]
    colors = (1 - share) * first + share * second
    return replace(asset, corner_colors=(colors * 255).round().astype(np.uint8))


def random_color(rng: np.random.Generator) -> np.ndarray:
    """(3,) in [0, 1]: greys and browns more often than bright ones."""
    value = rng.uniform(_DARKEST, 1.0)
    return value * (1 - rng.beta(1, 1.5) * rng.permutation([0.0, rng.random(), 1.0]) * (1 - _DARKEST))


def _direction(rng: np.random.Generator) -> np.ndarray:
    direction = rng.normal(size=3)
    return direction / np.linalg.norm(direction)
