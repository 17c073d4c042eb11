"""Which faces of a mesh hang together.

F faces · E edges.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def pieces(faces: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of connected pieces of faces (F, 3), and of each face (F,) that of its piece, from 0 on."""
    if len(faces) == 0:
        return 0, np.zeros(0, np.int32)
    used = np.zeros(int(faces.max()) + 1, bool)
    used[faces] = True
    compact = (np.cumsum(used) - 1)[faces]
    number, label = components(compact[:, [0, 1, 1, 2]].reshape(-1, 2), int(used.sum()))
    return number, label[compact[:, 0]]


def components(edges: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    """Number of connected components that edges (E, 2) make of `count` vertices, and each vertex's."""
    joined = coo_array((np.ones(len(edges), bool), edges.T), shape=(count, count))
    number, label = connected_components(joined, directed=False)
    return int(number), label
