"""How well a finished mesh keeps the outer surface of a raw one, and whether all of it can be seen.

V vertices · F faces · N sampled points. Lengths are in parts of the raw mesh's longest side.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from backend.geometry.sights import seen_counts, seen_faces
from backend.measures.comparison import sample_surface

_POINTS = 60_000
_RADIUS = 0.02
_DIRECTIONS = 100
_OPEN = 0.2  # of the directions; what fewer see shines through a slit and is no outer surface


@dataclass(frozen=True)
class FinishScores:
    """f_score: harmonic mean of precision and recall at 0.02 · precision: share of the finished surface near
    the raw one · recall: share of the raw surface near the finished one, each point counted as often as
    an outside view sees it, so that inner walls seen through a slit count for the slit · seen_faces,
    seen_area: shares of the finished mesh that outside views see.
    """

    f_score: float
    precision: float
    recall: float
    seen_faces: float
    seen_area: float


def finish_scores(
    raw: tuple[np.ndarray, np.ndarray], finished: tuple[np.ndarray, np.ndarray]
) -> FinishScores:
    """Of two meshes of vertices (V, 3) and faces (F, 3), both with faces."""
    low, high = raw[0].min(axis=0), raw[0].max(axis=0)
    size = float((high - low).max())
    rng = np.random.default_rng(0)
    raw, finished = (((one[0] - low) / size, one[1].astype(np.int32)) for one in (raw, finished))
    outer = sample_surface(*raw, _POINTS, rng)
    made = sample_surface(*finished, _POINTS, rng)
    precision = float((cKDTree(outer).query(made)[0] < _RADIUS).mean())
    near = cKDTree(made).query(outer)[0] < _RADIUS
    open_to_all = seen_counts(*raw, outer, _DIRECTIONS) >= _OPEN * _DIRECTIONS
    recall = float(near[open_to_all].mean()) if open_to_all.any() else 0.0
    faces, points = seen_faces(*finished, made)
    return FinishScores(
        2 * precision * recall / max(precision + recall, 1e-9),
        precision,
        recall,
        float(faces.mean()),
        float(points.mean()),
    )
