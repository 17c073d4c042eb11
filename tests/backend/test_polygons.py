"""Polygons cut into triangles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.geometry.files.polygons import triangles

U = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
DART = [(0, 0), (2, 0), (0.5, 0.5), (0, 2)]
WITH_STRAIGHT_CORNERS = [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 1), (0, 2), (0, 1)]


def area(points: np.ndarray) -> np.ndarray:
    """Of polygons (K, N, 3), by Newell's sum: (K, 3)."""
    return np.cross(points, np.roll(points, -1, axis=1)).sum(axis=1) / 2


def check(polygon: np.ndarray) -> None:
    """No triangle looks the other way, and together they are as large: none lies outside or on another."""
    cut, owner = triangles(polygon, np.arange(len(polygon)), np.array([len(polygon)]))
    assert len(cut) == len(polygon) - 2 and (owner == 0).all()
    normal = area(polygon[None])[0]
    signed = area(polygon[cut]) @ normal / np.linalg.norm(normal)
    assert signed.min() >= -1e-9
    assert signed.sum() == pytest.approx(np.linalg.norm(normal))


@pytest.mark.parametrize("flat", [U, DART, WITH_STRAIGHT_CORNERS])
@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("back", [False, True])
def test_polygons_that_turn_inwards(flat, first, axis, back):
    points = np.roll(np.insert(np.array(flat, float), axis, 1.0, axis=1), first, axis=0)
    check(points[::-1] if back else points)


@given(st.lists(st.floats(0.1, 2), min_size=5, max_size=40), st.integers(0, 2**32 - 1))
def test_stars_in_any_plane(radii, seed):
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    angle = np.arange(len(radii)) * 2 * np.pi / len(radii)
    star = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1) * np.array(radii)[:, None]
    check(star @ turn + 1)


def test_polygons_keep_their_order_and_those_without_area_their_corners():
    vertices = np.random.default_rng(0).normal(size=(9, 3))
    counts = np.array([4, 2, 3, 6, 0, 5])
    corners = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, *[1] * 6, 0, 1, 0, 1, 2])
    cut, owner = triangles(vertices, corners, counts)
    assert owner.tolist() == [0] * 2 + [2] + [3] * 4 + [5] * 3
    starts = np.cumsum(counts) - counts
    assert ((cut >= starts[owner, None]) & (cut < (starts + counts)[owner, None])).all()


@pytest.mark.parametrize("corner", [-1, 3])
def test_vertices_that_are_not_there_are_an_error(corner):
    with pytest.raises(ValueError, match="that it lacks"):
        triangles(np.zeros((3, 3)), np.array([0, 1, corner]), np.array([3]))
