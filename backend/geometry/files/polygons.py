"""Polygons cut into triangles. V vertices · C corners of all polygons · F polygons · T triangles."""

import numpy as np

_STRAIGHT = 1e-6  # the sine of a turn to the wrong side that is none


def triangles(vertices: np.ndarray, corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which corners (T, 3) make the triangles, and the polygon (T,) of each, in the order of the polygons.

    Corners (C,) are numbers of vertices (V, 3), polygon by polygon; counts (F,). Those of less than three
    are left out. Raises ValueError where a vertex is not there.
    """
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(vertices):
        raise ValueError("faces name vertices that it lacks")
    if (counts == 3).all():
        return np.arange(len(corners)).reshape(-1, 3), np.arange(len(counts))
    starts = np.cumsum(counts) - counts
    cuts, owners = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for count in np.unique(counts[counts > 2]):
        polygons = np.flatnonzero(counts == count)
        place = starts[polygons, None] + np.arange(count)
        if count > 3:
            place = _turned(place, vertices[corners[place]])
        steps = np.arange(1, count - 1)
        fan = np.stack([np.zeros_like(steps), steps, steps + 1], axis=1)
        cut = place[:, fan]
        if count > 4:
            for one in np.flatnonzero(_turns(vertices[corners[place]]).min(axis=1) < -_STRAIGHT):
                cut[one] = place[one][_ears(vertices[corners[place[one]]])]
        cuts.append(cut.reshape(-1, 3))
        owners.append(np.repeat(polygons, count - 2))
    cut, owner = np.concatenate(cuts), np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return cut[order], owner[order]


def _turned(place: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Polygons (K, N) that begin at their corner that points inwards most, where one does: from there every
    quadrangle is a fan.
    """
    turns = _turns(points)
    first = np.where(turns.min(axis=1) < -_STRAIGHT, turns.argmin(axis=1), 0)
    return np.take_along_axis(place, (first[:, None] + np.arange(place.shape[1])) % place.shape[1], axis=1)


def _turns(points: np.ndarray) -> np.ndarray:
    """Sines (K, N) of the turns at the corners of polygons (K, N, 3), below 0 where one points inwards."""
    before, after = points - np.roll(points, 1, axis=1), np.roll(points, -1, axis=1) - points
    turn = (np.cross(before, after) * _normals(points)[:, None]).sum(axis=2)
    length = np.linalg.norm(before, axis=2) * np.linalg.norm(after, axis=2)
    return turn / np.maximum(length, np.finfo(float).tiny)


def _normals(points: np.ndarray) -> np.ndarray:
    """Unit normals (K, 3) of polygons (K, N, 3)."""
    inner = points - points[:, :1]
    normal = np.cross(inner, np.roll(inner, -1, axis=1)).sum(axis=1)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)


def _ears(points: np.ndarray) -> np.ndarray:
    """Corners (N - 2, 3) of the triangles of one polygon (N, 3), cut off one ear after the other."""
    normal = _normals(points[None])[0]
    axis = int(np.abs(normal).argmax())
    flat = points[:, [(axis + 1) % 3, (axis + 2) % 3]] * (1.0, np.sign(normal[axis]) or 1.0)
    left, found = list(range(len(points))), []
    at = missed = 0
    while len(left) > 3:
        if missed == len(left):  # it crosses itself: the least triangle does least harm
            areas = [abs(_area(flat, *_corner(left, k))) for k in range(len(left))]
            at = int(np.argmin(areas))
        corner = _corner(left, at)
        if missed == len(left) or _is_ear(flat, corner, left):
            found.append(corner)
            left.pop(at)
            missed = 0
        else:
            missed += 1
            at += 1
        at %= len(left)
    return np.array([*found, left])


def _corner(left: list[int], at: int) -> tuple[int, int, int]:
    return left[at - 1], left[at], left[(at + 1) % len(left)]


def _area(flat: np.ndarray, a: int, b: int, c: int) -> float:
    (ax, ay), (bx, by), (cx, cy) = flat[a], flat[b], flat[c]
    return float((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))


def _is_ear(flat: np.ndarray, corner: tuple[int, int, int], left: list[int]) -> bool:
    """Whether a corner points outwards and no other one that is left lies in its triangle."""
    if _area(flat, *corner) <= 0:
        return False
    own = flat[list(corner)]
    others = flat[left]
    side = np.roll(own, -1, axis=0) - own
    away = others[:, None] - own
    inside = (side[:, 0] * away[..., 1] - side[:, 1] * away[..., 0] >= 0).all(axis=1)
    return not (inside & (away != 0).any(axis=2).all(axis=1)).any()
