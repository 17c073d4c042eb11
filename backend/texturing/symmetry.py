"""The upright planes in which a mesh mirrors itself. N points."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

_ANGLES = 48
_POINTS = 1500
SYMMETRIC = 0.012
"""Mean distance between a mesh and its mirror image, in units of its longest side, up to which it counts as
symmetric.
"""


@dataclass(frozen=True)
class Mirror:
    """A plane through `middle` (3,) with a unit normal (3,), and how far the mesh is off its mirror image."""

    middle: np.ndarray
    normal: np.ndarray
    distance: float

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) on the other side."""
        return points - 2 * ((points - self.middle) @ self.normal)[:, None] * self.normal

    def directions(self, directions: np.ndarray) -> np.ndarray:
        """Directions (N, 3) as seen in the mirror."""
        return directions - 2 * (directions @ self.normal)[:, None] * self.normal


def mirrors(points: np.ndarray, in_any_case: bool = False) -> list[Mirror]:
    """The upright planes in which points (N, 3), spread over a surface, mirror themselves: none, one, or two
    at a right angle. The best one is among them `in_any_case`.
    """
    chosen = points[np.linspace(0, len(points) - 1, min(len(points), _POINTS)).astype(int)].astype(np.float64)
    tree = cKDTree(points)
    size = max(float(np.ptp(points, axis=0).max()), 1e-9)
    coarse = [_mirror(chosen, tree, angle, size) for angle in np.arange(_ANGLES) / _ANGLES * np.pi]
    best = int(np.argmin([one.distance for one in coarse]))
    near = (best + np.linspace(-1, 1, 9)) / _ANGLES * np.pi
    first, angle = min(
        ((_mirror(chosen, tree, angle, size), angle) for angle in near), key=lambda one: one[0].distance
    )
    found = [first, _mirror(chosen, tree, angle + np.pi / 2, size)]
    symmetric = [one for one in found if one.distance < SYMMETRIC]
    return symmetric or ([first] if in_any_case else [])


def _mirror(points: np.ndarray, tree: cKDTree, angle: float, size: float) -> Mirror:
    normal = np.array([np.cos(angle), np.sin(angle), 0.0])
    along = points @ normal
    middle = normal * (along.min() + along.max()) / 2
    plain = Mirror(middle, normal, 0.0)
    return Mirror(middle, normal, float(tree.query(plain.points(points))[0].mean() / size))
