"""Whether a mesh is a surface or a sieve: its parts, their handles, and how much of it can be seen at all.

V vertices · F faces · N sampled points · S size of a depth picture.
"""

from dataclasses import dataclass

import numpy as np

from backend.geometry.pieces import components, pieces
from backend.geometry.sights import seen_counts

_DIRECTIONS = 48
_SIZE = 256
_POINTS = 8192
_BEHIND = 3.0  # pixels by which a point may lie behind what is drawn and still be seen


@dataclass(frozen=True)
class Soundness:
    """parts: connected pieces · genus: handles of the piece with the most faces · seen: share of the area
    that can be seen from outside, in [0, 1].
    """

    parts: int
    genus: int
    seen: float


def soundness(vertices: np.ndarray, faces: np.ndarray) -> Soundness:
    """Of a mesh of vertices (V, 3) and faces (F, 3); zeros where it has no face.

    Vertices in one and the same place count as one.
    """
    if len(faces) == 0:
        return Soundness(0, 0, 0.0)
    welded = np.unique(vertices, axis=0, return_inverse=True)[1].reshape(-1)[faces]
    flat = (welded == np.roll(welded, 1, axis=1)).any(axis=1)  # a face without area has no border
    welded = welded if flat.all() else welded[~flat]
    parts, label = pieces(welded)
    largest = welded[label == np.bincount(label).argmax()]
    return Soundness(parts, genus(largest), seen_share(vertices, faces))


def genus(faces: np.ndarray) -> int:
    """Handles of one connected piece (F, 3) by Euler's formula, every closed border counted as a disc."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    distinct, count = np.unique(edges, axis=0, return_counts=True)
    border = distinct[count == 1]
    holes = 0
    if len(border):
        used, ends = np.unique(border, return_inverse=True)
        holes = components(ends.reshape(-1, 2), len(used))[0]
    euler = len(np.unique(faces)) - len(distinct) + len(faces)
    return max(0, (2 - euler - holes) // 2)


def seen_share(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Share of the area that some of 48 directions, spread evenly over the sphere, can see."""
    rng = np.random.default_rng(0)
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if area.sum() <= 0:
        return 0.0
    chosen = rng.choice(len(faces), _POINTS, p=area / area.sum())
    weights = rng.dirichlet((1.0, 1.0, 1.0), _POINTS)
    points = (corners[chosen] * weights[..., None]).sum(axis=1)
    seen = seen_counts(vertices, faces, points, _DIRECTIONS, _SIZE, _BEHIND)
    return float((seen > 0).mean())
