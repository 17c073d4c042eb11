"""Edges of a mesh collapsed until it has few enough faces; imports nothing but what that needs."""

import fast_simplification
import numpy as np


def collapsed(
    relief: np.ndarray, points: np.ndarray, faces: np.ndarray, count: int, haste: int
) -> tuple[np.ndarray, ...]:
    """A mesh (V, 3), (F, 3) with about `count` faces: its vertices (W, 3) and faces (G, 3), and which vertex
    each (V,) went into.

    Which edges collapse is judged by quadrics of `relief` (V, 3) instead of the points.
    haste: how readily edges collapse, from 0 to 10.
    """
    _, _, collapses = fast_simplification.simplify(
        relief, faces, target_count=count, agg=haste, return_collapses=True
    )
    return fast_simplification.replay_simplification(points, faces, collapses)
