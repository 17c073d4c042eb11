"""Which faces of a mesh hang together, and which way they are turned.

V vertices · F faces · E edges.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_FLAT = 1e-12  # of its area to the power of 3/2; a piece of less volume has no inside


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


def directed_edges(faces: np.ndarray) -> np.ndarray:
    """(3 F, 2): of all faces the edges from corner 0 to 1, then from 1 to 2, then from 2 to 0."""
    return np.concatenate([faces[:, (0, 1)], faces[:, (1, 2)], faces[:, (2, 0)]])


def edge_keys(edges: np.ndarray) -> np.ndarray:
    """One number (E,) for each pair (E, 2) of vertices."""
    return edges[:, 0].astype(np.int64) << 32 | edges[:, 1]


def sides(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each face (F,) the piece it belongs to across edges that no third face has, and whether it is turned
    otherwise than most of the piece. No face of a piece without two sides is.
    """
    first, second, same = _neighbours(faces)
    count = len(faces)
    if not same.any():
        return components(np.stack([first, second], axis=1), count)[1], np.zeros(count, bool)
    # A face and its reverse are two nodes: a piece with two sides is connected twice, once each way round.
    rows = np.concatenate([first, first + count])
    columns = np.concatenate([second + count * same, second + count * ~same])
    _, label = components(np.stack([rows, columns], axis=1), 2 * count)
    one, other = label.reshape(2, count)
    piece, turn = np.minimum(one, other), one > other
    most = np.bincount(piece, turn) > np.bincount(piece) / 2
    return piece, (turn != most[piece]) & (one != other)


def inside_out(vertices: np.ndarray, faces: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Which faces (F,) belong to a piece (F,) that is closed and turned inwards."""
    corners = vertices[faces].astype(np.float64)
    uses = np.maximum(np.bincount(piece), 1)[:, None]
    middle = np.stack([np.bincount(piece, one) for one in corners.mean(axis=1).T], axis=1) / uses
    a, b, c = (corners[:, corner] - middle[piece] for corner in range(3))
    volume = np.bincount(piece, (a * np.cross(b, c)).sum(axis=1) / 6)
    area = np.bincount(piece, np.linalg.norm(np.cross(b - a, c - a), axis=1))
    inwards = volume < -_FLAT * area**1.5
    chosen = inwards[piece]
    owner = np.tile(piece[chosen], 3)
    edges = directed_edges(faces[chosen])
    low, high = np.sort(edges, axis=1).T
    order = np.lexsort((high, low, owner))
    same = np.diff(np.stack([owner, low, high])[:, order], axis=1) == 0
    edge = np.concatenate([[0], np.cumsum(~same.all(axis=0))])
    balance = np.bincount(edge[: len(order)], np.where(edges[order, 0] < edges[order, 1], 1, -1))
    inwards[owner[order][balance[edge[: len(order)]] != 0]] = False  # open
    return inwards[piece]


def _neighbours(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two faces (E,) of each edge that has two, and whether both run along it the same way (E,)."""
    edges = directed_edges(faces)
    keys = edge_keys(np.sort(edges, axis=1))
    order = np.argsort(keys, kind="stable")
    _, start, uses = np.unique(keys[order], return_index=True, return_counts=True)
    one, other = order[start[uses == 2]], order[start[uses == 2] + 1]
    count = len(faces)
    return one % count, other % count, edges[one, 0] == edges[other, 0]
