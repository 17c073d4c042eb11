"""Thin tunnels that nobody can look through are closed by a plug where they are thinnest.

The outside grows from the open over ever narrower places, and never so that it meets itself behind the
object: there a plug stays (Szymczak and Vanderhyde, "Extraction of Topologically Simple Isosurfaces from
Volume Datasets", 2003). Where a straight line leads from outside through the plug to outside, it goes again.
n corners of the grid a side · N corners of plugs.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.ndimage import binary_dilation, generate_binary_structure, label

from backend.geometry.sights import sphere

_LINES = 1200  # ways to look through a plug, spread over half a sphere
_TURNS = (0.06, 0.03, 0.015, 0.008, 0.004)  # how far the best of them is turned to look farther
_TURNED = 16  # ways each
_FAR = 1 << 20
_TRIED = 24  # corners of a plug that are looked through, its widest first
_STEPS = 64  # of order a cell
_AROUND = generate_binary_structure(3, 3)


def without_tunnels(
    outside: np.ndarray, distance: np.ndarray, thin: float, clear: float
) -> tuple[np.ndarray, int]:
    """Corners (n, n, n) bool outside the solid, less plugs in tunnels, and how many plugs there are.

    Plugs come into tunnels less than twice `thin` cells wide, but where a straight line stays `clear` cells
    from the surface. distance: from it, (n, n, n) f32 in cells, right up to `thin`. The rim lies outside.
    """
    order = np.where(outside, np.minimum(distance, np.float32(thin)) * _STEPS, -1).astype(np.int16)
    labels, count = label(order >= int(thin * _STEPS))
    root, opened = np.arange(count + 1, dtype=np.int32), np.zeros(outside.shape, bool)
    _grow(labels, root, order, opened)
    tried = _widest(outside & (labels == 0), order)
    lines = np.concatenate([np.eye(3), sphere(2 * _LINES)[:_LINES]])
    turns = np.concatenate([turn * sphere(_TURNED) for turn in _TURNS])
    seen = tried[_looked_through(outside & (distance >= clear), tried, lines, turns)]
    if len(seen):
        opened.reshape(-1)[seen] = True
        _grow(labels, root, order, opened)
    plugs = outside & (labels == 0)
    return outside & ~binary_dilation(plugs), int(label(plugs, _AROUND)[1])


def _widest(plugs: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Of each plug in the grid (n, n, n) bool the corners (N,) of the highest order, flat."""
    number = label(plugs, _AROUND)[0].reshape(-1)
    rows = np.flatnonzero(number)
    rows = rows[np.lexsort((-order.reshape(-1)[rows], number[rows]))]
    starts = np.flatnonzero(np.diff(number[rows], prepend=0))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return rows[rank < _TRIED]


@njit(nogil=True, cache=True)
def _grow(labels, root, order, opened):
    """Labels (n, n, n) i32 of corners outside spread over those with an order, the highest first, unless two
    fronts of one region would meet. root: of the labels' union. opened (n, n, n): where they may.
    """
    n0, n1, n2 = labels.shape
    flat, level, free = labels.reshape(-1), order.reshape(-1), opened.reshape(-1)
    face = np.array([n1 * n2, -n1 * n2, n2, -n2, 1, -1])
    head = np.full(level.max() + 1, -1, np.int32)
    link = np.full(flat.size, -2, np.int32)  # the next in its queue, −1 at its end, −2 where not queued
    highest = 0
    for row in range(flat.size):
        if flat[row] != 0 or level[row] < 0:
            continue
        for side in range(6):
            if flat[row + face[side]] != 0:
                link[row] = head[level[row]]
                head[level[row]] = row
                highest = max(highest, level[row])
                break
    at = highest
    group = np.zeros(6, np.int64)
    while at >= 0:
        row = head[at]
        if row < 0:
            at -= 1
            continue
        head[at] = link[row]
        link[row] = -2
        # The sides that are outside, those joined by an edge's neighbour in one group.
        for side in range(6):
            group[side] = side if flat[row + face[side]] != 0 else -1
        for one in range(6):
            for other in range(one + 1, 6):
                if one // 2 == other // 2 or group[one] < 0 or group[other] < 0 or group[one] == group[other]:
                    continue
                if flat[row + face[one] + face[other]] != 0:
                    old, new = group[other], group[one]
                    for side in range(6):
                        if group[side] == old:
                            group[side] = new
        meets, made = False, 0
        for one in range(6):
            if group[one] < 0:
                continue
            a = _root(root, flat[row + face[one]])
            made = a
            for other in range(one + 1, 6):
                if group[other] >= 0 and group[other] != group[one]:
                    meets = meets or _root(root, flat[row + face[other]]) == a
        if made == 0 or (meets and not free[row]):
            continue
        for side in range(6):
            if group[side] >= 0:
                root[_root(root, flat[row + face[side]])] = made
        flat[row] = made
        for one in range(6):
            for other in range(-1, one):
                if other >= 0 and one // 2 == other // 2:
                    continue
                near = row + face[one] + (face[other] if other >= 0 else 0)
                if flat[near] == 0 and level[near] >= 0 and link[near] == -2:
                    link[near] = head[level[near]]
                    head[level[near]] = near
                    at = max(at, level[near])


@njit(nogil=True, cache=True)
def _root(root, one):
    while root[one] != one:
        root[one] = root[root[one]]
        one = root[one]
    return one


@njit(nogil=True, cache=True)
def _looked_through(clear, rows, lines, turns):
    """Which (N,) of the corners `rows` lie on a straight line that stays clear: of a direction in `lines`, or
    of one near the best of them, which the `turns` (K, 3) added to it find step by step.
    """
    n0, n1, n2 = clear.shape
    found = np.zeros(len(rows), np.bool_)
    for n in range(len(rows)):
        at = np.array([rows[n] // (n1 * n2), rows[n] // n2 % n1, rows[n] % n2])
        if not clear[at[0], at[1], at[2]]:
            continue
        best, longest, base = lines[0], -1, len(lines)
        for number in range(len(lines) + len(turns)):
            line = lines[number] if number < base else best + turns[number - base]
            line = line / np.sqrt((line * line).sum())
            sight = _sight(clear, at, line)
            if sight > longest:
                best, longest = line, sight
            if longest == _FAR:
                found[n] = True
                break
    return found


@njit(nogil=True, cache=True)
def _sight(clear, at, line):
    """How many cells one sees from `at` (3,) along the line, the lesser way; _FAR where both lead out."""
    n0, n1, n2 = clear.shape
    least = _FAR
    for sign in (-1.0, 1.0):
        for step in range(1, least):
            i = int(math.floor(at[0] + sign * step * line[0] + 0.5))
            j = int(math.floor(at[1] + sign * step * line[1] + 0.5))
            k = int(math.floor(at[2] + sign * step * line[2] + 0.5))
            if min(i, j, k) < 0 or i >= n0 or j >= n1 or k >= n2:
                break
            if not clear[i, j, k]:
                least = step
                break
    return least
