"""Procedural objects beside those of the folder: a random primitive, or several put together.

What is round, flat or hollow looks alike in every family, and procedural objects show much more of it than a
folder of a few thousand meshes (the idea of Xie et al., 2024, "LRM-Zero", arXiv 2406.09371).
V vertices · F faces.
"""

from dataclasses import replace

import numpy as np

from backend.geometry.mesh_files import Asset
from backend.training.procedural.paint import painted
from backend.training.procedural.primitives import Random, random_primitive

_COMPOSITES = 0.5  # share of what has more than one body
_LYING = 0.25  # share of what does not stand upright


def procedural_object(rng: Random) -> Asset:
    """One object, upright as a rule; `rng` alone says which."""
    body = random_primitive(rng)
    parts = [painted(body, rng)]
    if rng.random() < _COMPOSITES:
        for _ in range(rng.integers(1, 4)):
            parts += _attached(body.vertices, rng)
    turn = _rotation(rng) if rng.random() < _LYING else np.eye(3)
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Asset(
        np.concatenate([part.vertices @ turn.T for part in parts]).astype(np.float32),
        np.concatenate(
            [part.faces + start for part, start in zip(parts, starts, strict=True)], dtype=np.int32
        ),
        np.concatenate([part.corner_colors for part in parts]),
        np.concatenate([part.smooth for part in parts]),
    )


def _attached(body: np.ndarray, rng: Random) -> list[Asset]:
    """A smaller solid somewhere on a body (V, 3), often with its mirror image or in fours."""
    part = random_primitive(rng)
    size = rng.uniform(0.15, 0.7)
    turn = _rotation(rng) if rng.random() < 0.6 else np.eye(3)
    vertices = part.vertices * size @ turn.T + body[rng.integers(len(body))] * rng.uniform(0.6, 1.1)
    result = [replace(painted(part, rng), vertices=vertices)]
    for axis in ((), (0,), (0, 1))[rng.choice(3, p=(0.4, 0.4, 0.2))]:
        sign = np.where(np.arange(3) == axis, -1.0, 1.0)
        result += [
            Asset(one.vertices * sign, one.faces[:, ::-1], one.corner_colors[:, ::-1], one.smooth)
            for one in result
        ]
    return result


def _rotation(rng: Random) -> np.ndarray:
    """(3, 3): mostly a quarter turn about one axis, else any."""
    if rng.random() < 0.6:
        axis = rng.integers(3)
        return np.roll(np.roll(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), axis, 0), axis, 1)
    matrix, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    return matrix * np.sign(np.linalg.det(matrix))
