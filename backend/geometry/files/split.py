"""Faces split until the colours of their corners stand for the texture on them.

V vertices · F faces · E edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.geometry.files.part import Part

EDGES = 64
"""So many edges at least lie along the longest side of an object."""
MOST_FACES = 400_000


@dataclass(frozen=True)
class Split:
    """faces (F, 3) of a part's vertices and the middles of edges (E, 2), added one array after the other."""

    faces: np.ndarray
    edges: tuple[np.ndarray, ...] = ()

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values of the part's vertices (V, C), and of all middles after them."""
        for edges in self.edges:
            values = np.concatenate([values, values[edges].mean(axis=1)])
        return values


def whole(parts: Sequence[Part]) -> list[Split]:
    """The parts as they are."""
    return [Split(part.faces) for part in parts]


def split_for_colors(parts: Sequence[Part]) -> list[Split]:
    """Faces of an object's parts, none with an edge longer than `1 / EDGES` of the longest side.

    As they are where no part is textured. Edges stay longer where there would be more than `MOST_FACES`.
    Plain parts are split as well: their edges stay those of the parts beside them.
    """
    splits = whole(parts)
    if not any(part.textured for part in parts):
        return splits
    places = np.concatenate([part.vertices[part.faces].reshape(-1, 3) for part in parts])
    longest = np.ptp(places, axis=0).max(initial=0)
    shares = 2 ** np.arange(1, EDGES.bit_length())
    for limit in longest / shares * (1 + 1e-6):
        if sum(len(split.faces) for split in splits) >= MOST_FACES:
            break
        finer = [_split(part.vertices, one, limit) for part, one in zip(parts, splits, strict=True)]
        if sum(len(split.faces) for split in finer) > MOST_FACES:
            break
        splits = finer
    return splits


def _split(vertices: np.ndarray, split: Split, longest: float) -> Split:
    """Every edge that is longer is halved, and its halves again."""
    faces, added = split.faces, [*split.edges]
    vertices = split(vertices)
    while True:
        ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2)
        long = np.linalg.norm(vertices[ends[..., 0]] - vertices[ends[..., 1]], axis=2) > longest
        if not long.any():
            return Split(faces, tuple(added))
        keys = np.sort(ends[long], axis=1) @ (len(vertices), 1)
        unique, number = np.unique(keys, return_inverse=True)
        middles = np.full(faces.shape, -1)
        middles[long] = len(vertices) + number.reshape(-1)
        faces = _halved(faces, middles)
        added.append(np.stack(np.divmod(unique, len(vertices)), axis=1))
        vertices = np.concatenate([vertices, vertices[added[-1]].mean(axis=1)])


def _halved(faces: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Faces (F, 3) cut at the middles (F, 3) of the edges behind their corners, −1 where one stays whole."""
    halved = middles >= 0
    count = halved.sum(axis=1)
    # One halved edge becomes the first, and of two the whole edge the last.
    first = np.where(count == 1, halved.argmax(axis=1), (halved.argmin(axis=1) + 1) % 3 * (count == 2))
    turn = (first[:, None] + np.arange(3)) % 3
    corners = [*np.take_along_axis(faces, turn, axis=1).T, *np.take_along_axis(middles, turn, axis=1).T]
    patterns = {
        0: [(0, 1, 2)],
        1: [(0, 3, 2), (3, 1, 2)],
        2: [(3, 1, 4), (0, 3, 4), (0, 4, 2)],
        3: [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)],
    }
    cut = [
        np.stack([corners[k][count == n] for k in one], axis=1)
        for n, all_ in patterns.items()
        for one in all_
    ]
    return np.concatenate(cut)
