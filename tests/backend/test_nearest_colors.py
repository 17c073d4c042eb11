"""Colours that are carried from one surface to another."""

import numpy as np

from backend.geometry.nearest_colors import carried_colors, normals_of

RED, BLUE = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])


def sheet(height: float, up: bool, cells: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """A square sheet in the plane z = height that looks up or down."""
    axis = np.linspace(-0.5, 0.5, cells + 1)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], axis=1)
    a = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    faces = np.concatenate(
        [np.stack([a, a + cells + 1, a + 1], 1), np.stack([a + 1, a + cells + 1, a + cells + 2], 1)]
    )
    return vertices, faces if up else faces[:, ::-1]


def test_normals_are_those_of_the_faces_and_zero_where_there_are_none():
    vertices, faces = sheet(0.0, up=True)
    vertices = np.concatenate([vertices, [[9, 9, 9]]])
    assert (
        np.allclose(normals_of(vertices, faces)[:-1], (0, 0, 1)) and not normals_of(vertices, faces)[-1].any()
    )
    assert np.allclose(normals_of(vertices, faces[:, ::-1])[:-1], (0, 0, -1))


def test_both_sides_of_a_thin_wall_keep_their_own_colour():
    """The wall's sides are a tenth of its cells apart: only their normals tell them apart."""
    (top, up), (bottom, down) = sheet(0.005, up=True), sheet(0.0, up=False)
    vertices = np.concatenate([top, bottom])
    normals = normals_of(vertices, np.concatenate([up, down + len(top)]))
    colors = np.repeat([RED, BLUE], len(top), axis=0)
    points = np.array([[0.1, 0.2, 0.0025], [0.1, 0.2, 0.0025]])
    facing = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    carried = carried_colors(points, facing, vertices, normals, colors)
    assert np.allclose(carried, [RED, BLUE], atol=0.05)


def test_a_gradient_is_carried_and_a_single_vertex_is_enough():
    vertices, faces = sheet(0.0, up=True)
    colors = np.repeat(vertices[:, :1] + 0.5, 3, axis=1)
    points = np.array([[-0.25, 0.03, 0.01], [0.0, 0.0, 0.0], [0.31, -0.2, 0.0]])
    facing = np.tile([0.0, 0.0, 1.0], (3, 1))
    carried = carried_colors(points, facing, vertices, normals_of(vertices, faces), colors)
    assert np.allclose(carried[:, 0], points[:, 0] + 0.5, atol=0.03)
    assert np.allclose(carried_colors(points, facing, vertices[:1], facing[:1], RED[None]), RED)
