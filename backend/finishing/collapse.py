"""Edges of a mesh collapsed until it has few enough faces; imports nothing but what that needs."""

import fast_simplification
import numpy as np


def collapsed(points: np.ndarray, faces: np.ndarray, count: int, haste: int) -> tuple[np.ndarray, ...]:
    """A mesh (V, 3), (F, 3) with about `count` faces, by quadrics: its vertices (W, 3) and faces (G, 3).

    haste: how readily edges collapse, from 0 to 10.
    """
    return fast_simplification.simplify(points, faces, target_count=count, agg=haste)


def collapsed_as(
    relief: np.ndarray, points: np.ndarray, faces: np.ndarray, count: int, haste: int
) -> tuple[np.ndarray, ...]:
    """The same by quadrics of `relief` (V, 3) instead of points; also which vertex each (V,) went into."""
    _, _, collapses = fast_simplification.simplify(
        relief, faces, target_count=count, agg=haste, return_collapses=True
    )
    return fast_simplification.replay_simplification(points, faces, collapses)
