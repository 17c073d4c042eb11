"""Voxels of meshes: worked out by hand, against a slower independent test, and faults of meshes."""

import itertools

import numpy as np
import pytest
import trimesh
from scipy.optimize import linprog

from backend.errors import UserError
from backend.geometry import voxelize as module
from backend.geometry.voxelize import sampled_colors, sampled_occupancy, voxelize


def voxels_of(vertices, faces, resolution: int, normalise: bool = False) -> set[tuple[int, ...]]:
    coords = voxelize(np.array(vertices, float), np.array(faces), resolution, normalise)
    assert coords.dtype == np.int32 and coords.shape[1] == 3
    assert np.array_equal(coords, np.unique(coords, axis=0))
    return {tuple(voxel) for voxel in coords.tolist()}


def test_a_small_triangle_lights_the_voxel_around_it():
    centre = (np.array([1, 2, 3]) + 0.5) / 4 - 0.5
    triangle = centre + np.array([[0.01, 0, 0], [0, 0.01, 0], [0, 0, 0.01]])
    assert voxels_of(triangle, [[0, 1, 2]], 4) == {(1, 2, 3)}


def test_a_face_on_a_border_marks_the_voxels_above():
    square = [[-0.4, -0.4, 0.0], [0.4, -0.4, 0.0], [0.4, 0.4, 0.0], [-0.4, 0.4, 0.0]]
    assert voxels_of(square, [[0, 1, 2], [0, 2, 3]], 2) == {(x, y, 1) for x in (0, 1) for y in (0, 1)}


def test_a_slanted_face_leaves_out_the_voxels_it_does_not_reach():
    """The plane x + y + z = -1 meets only the lowest corner of the eight voxels' box."""
    triangle = [[0.0, -0.5, -0.5], [-0.5, 0.0, -0.5], [-0.5, -0.5, 0.0]]
    inside = np.array(triangle) + 1e-3 * np.array([-1, -1, -1]) / np.sqrt(3)
    assert voxels_of(inside.clip(-0.5), [[0, 1, 2]], 2) == {(0, 0, 0)}


def test_a_box_is_hollow_and_fills_the_cube_after_normalising():
    box = trimesh.creation.box(extents=(8.0, 4.0, 4.0))
    found = voxels_of(box.vertices + [10, 20, 30], box.faces, 8, normalise=True)
    outer = set(itertools.product(range(8), range(2, 7), range(2, 7)))
    shell = {v for v in outer if v[0] in (0, 7) or v[1] in (2, 6) or v[2] in (2, 6)}
    assert found == shell


def reaches(triangle: np.ndarray, voxel: np.ndarray, resolution: int) -> bool:
    """Whether some convex combination of the corners lies in the closed voxel: a linear programme."""
    low, high = voxel / resolution - 0.5, (voxel + 1) / resolution - 0.5
    done = linprog(
        np.zeros(3),
        A_ub=np.concatenate([triangle.T, -triangle.T]),
        b_ub=np.concatenate([high, -low]),
        A_eq=np.ones((1, 3)),
        b_eq=[1.0],
    )
    return done.status == 0


@pytest.mark.parametrize("seed", range(3))
def test_random_triangles_against_linear_programming(seed):
    rng = np.random.default_rng(seed)
    triangle = rng.uniform(-0.49, 0.49, (3, 3))
    if seed == 1:
        triangle[2] = triangle[0] + (triangle[1] - triangle[0]) * 0.3  # a needle without area
    found = voxels_of(triangle, [[0, 1, 2]], 5)
    every = itertools.product(range(5), repeat=3)
    assert found == {voxel for voxel in every if reaches(triangle, np.array(voxel), 5)}


def test_triangles_of_all_sizes_together_against_linear_programming():
    rng = np.random.default_rng(3)
    sizes = np.repeat([0.02, 0.15, 0.4], 4)[:, None, None]
    triangles = rng.uniform(-0.45, 0.45, (12, 1, 3)) + sizes * rng.uniform(-1, 1, (12, 3, 3))
    triangles = triangles.clip(-0.49, 0.49)
    triangles[5, :, 1] = 0.1  # flat
    triangles[10, 1] = triangles[10, 0] + [0.3, 0.2, 0.1]
    triangles[10, 2] = triangles[10, 0] + [0.6, 0.4, 0.2]  # without area
    triangles = triangles.clip(-0.49, 0.49)
    found = voxels_of(triangles.reshape(-1, 3), np.arange(36).reshape(12, 3), 6)
    every = list(itertools.product(range(6), repeat=3))
    assert found == {v for v in every if any(reaches(one, np.array(v), 6) for one in triangles)}


def test_samples_lie_in_voxels_that_are_touched_and_miss_few():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.45)
    touched = np.zeros((64,) * 3, bool)
    touched[tuple(voxelize(ball.vertices, ball.faces, 64, normalise=False).T)] = True
    sampled = sampled_occupancy(ball.vertices, ball.faces, 64)
    assert not (sampled & ~touched).any()
    assert sampled.sum() > 0.85 * touched.sum()


def test_samples_have_the_colour_of_their_face():
    triangle = np.array([[-0.4, -0.4, 0.1], [0.4, -0.4, 0.1], [-0.4, 0.4, 0.1]])
    colors, known = sampled_colors(triangle, np.array([[0, 1, 2]]), np.full((1, 3, 3), 51, np.uint8), 8)
    assert np.array_equal(known, sampled_occupancy(triangle, np.array([[0, 1, 2]]), 8)) and known.any()
    assert colors[known] == pytest.approx(0.2, abs=1e-6) and not colors[~known].any()


def test_the_result_does_not_depend_on_how_much_is_done_at_once(monkeypatch):
    ball = trimesh.creation.icosphere(subdivisions=2)
    turned = np.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    vertices, faces = trimesh.util.append_faces(
        [ball.vertices, trimesh.creation.box().vertices @ turned], [ball.faces, trimesh.creation.box().faces]
    )
    whole = voxelize(vertices, faces, 32)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 37)
    assert np.array_equal(voxelize(vertices, faces, 32), whole)


def test_what_lies_outside_is_clipped_to_the_cube():
    found = voxels_of([[-9, 0.1, 0.1], [9, 0.1, 0.1], [9, 0.11, 0.1]], [[0, 1, 2]], 4)
    assert found == {(x, 2, 2) for x in range(4)}


TRIANGLE = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (TRIANGLE, np.zeros((0, 3), int), "no faces"),
        (np.zeros((0, 3)), [[0, 1, 2]], "does not have"),
        (TRIANGLE, [[0, 1, 3]], "does not have"),
        (TRIANGLE, [[0, 1, -1]], "does not have"),
        ([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]], "finite"),
        ([[0, 0, 0], [1, 0, 0], [0, np.inf, 0]], [[0, 1, 2]], "finite"),
        ([[2, 2, 2]] * 3, [[0, 1, 2]], "one place"),
    ],
)
def test_meshes_that_cannot_be_voxelised(vertices, faces, message):
    with pytest.raises(UserError, match=message):
        voxelize(np.array(vertices, float), np.array(faces))
