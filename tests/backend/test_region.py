"""Regions as masks of voxels: what a box or a closed mesh holds, however it is turned."""

import json

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import UserError
from backend.geometry.region import Region, make_box, make_closed_mesh, read_region


def box_mask(resolution: int, *sizes) -> np.ndarray:
    return Region((make_box(*sizes),)).mask(resolution)


def test_a_box_holds_the_voxels_whose_centres_are_in_it():
    mask = box_mask(32, [0, 0, 0.25], [1, 0.5, 0.5])
    expected = np.zeros((32, 32, 32), bool)
    expected[:, 8:24, 16:] = True
    assert np.array_equal(mask, expected)


def test_a_quarter_turn_swaps_the_sides():
    turned = box_mask(16, [0.1, 0, 0], [0.3, 0.7, 0.5], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    assert np.array_equal(turned, box_mask(16, [0.1, 0, 0], [0.7, 0.3, 0.5]))


def test_two_boxes_are_their_union_and_what_lies_outside_is_cut_off():
    boxes = [make_box([0.3, 0, 0], [0.9, 0.2, 0.2]), make_box([0, 0, 0], [0.2, 0.2, 0.9])]
    both = Region(tuple(boxes)).mask(24)
    assert np.array_equal(both, Region((boxes[0],)).mask(24) | Region((boxes[1],)).mask(24))
    assert np.array_equal(
        box_mask(24, [0.3, 0, 0], [0.9, 0.2, 0.2]), box_mask(24, [0.175, 0, 0], [0.65, 0.2, 0.2])
    )


@given(
    st.tuples(*[st.floats(-0.4, 0.4)] * 3),
    st.tuples(*[st.floats(0.05, 0.9)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
)
@settings(max_examples=40, deadline=None)
def test_a_box_as_a_closed_mesh_is_the_box(center, size, rotation):
    box = make_box(center, size, rotation)
    mesh = trimesh.creation.box([2, 2, 2])
    vertices = mesh.vertices @ box.matrix[:3, :3].T + box.matrix[:3, 3]
    resolution = 16
    differs = Region((box,)).mask(resolution) != Region(
        meshes=(make_closed_mesh(vertices, mesh.faces),)
    ).mask(resolution)
    # Only voxel centres on a face may be decided differently.
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)[differs]
    inverse = np.linalg.inv(box.matrix)
    local = np.abs(centres @ inverse[:3, :3].T + inverse[:3, 3]).max(axis=-1)
    assert (np.abs(local - 1) < 1e-4).all()


def test_a_ball_and_a_ring_hold_what_their_formulas_say():
    axis = (np.arange(48) + 0.5) / 48 - 0.5
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.37)
    mask = Region(meshes=(make_closed_mesh(ball.vertices, ball.faces),)).mask(48)
    distance = np.sqrt(x**2 + y**2 + z**2) - 0.37
    clear = np.abs(distance) > 0.003
    assert np.array_equal(mask[clear], distance[clear] < 0)
    ring = trimesh.creation.torus(0.3, 0.1, major_sections=128, minor_sections=64)
    mask = Region(meshes=(make_closed_mesh(ring.vertices, ring.faces),)).mask(48)
    distance = np.sqrt((np.sqrt(x**2 + y**2) - 0.3) ** 2 + z**2) - 0.1
    clear = np.abs(distance) > 0.003
    assert np.array_equal(mask[clear], distance[clear] < 0)


def test_a_box_on_the_grid_lines_as_a_mesh_is_exact():
    """Its faces, edges and diagonals pass through voxel centres' rows in every direction."""
    mesh = trimesh.creation.box([0.5, 0.5, 0.5])
    mask = Region(meshes=(make_closed_mesh(mesh.vertices, mesh.faces),)).mask(32)
    assert mask.sum() == 16**3 and mask[8:24, 8:24, 8:24].all()


def test_regions_come_from_json():
    text = {"boxes": [{"center": [0, 0, 0], "size": [1, 1, 1]}, {"matrix": np.eye(4).tolist()}]}
    region = read_region(json.loads(json.dumps(text)))
    assert region.mask(4).all() and np.array_equal(region.bounds()[1], [1, 1, 1])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "JSON object"),
        ({}, "neither a box nor a mesh"),
        ({"boxes": [3]}, "lists"),
        ({"boxes": [{"center": [0, 0, 0]}]}, "center, size"),
        ({"boxes": [{"center": [0, 0, 0], "size": [1, 1, 0]}]}, "scaled to nothing"),
        ({"boxes": [{"center": [0, 0, float("nan")], "size": [1, 1, 1]}]}, "center"),
        ({"boxes": [{"center": "here", "size": [1, 1, 1]}]}, "center"),
        ({"boxes": [{"center": [0, 0, 10**400], "size": [1, 1, 1]}]}, "center"),
        ({"boxes": [{"matrix": np.zeros((4, 4)).tolist()}]}, "scaled to nothing"),
        ({"meshes": [{"vertices": [[0, 0, 0], [1, 0, 0], [0, 1, 0]], "faces": [[0, 1, 2]]}]}, "not closed"),
        ({"meshes": [{"vertices": [[0, 0, 0]], "faces": [[0, 1, 2]]}]}, "without vertices"),
        ({"meshes": [{"vertices": [[0, 0, 0]], "faces": []}]}, "faces"),
        ({"meshes": [{"vertices": np.eye(3).tolist(), "faces": [[0.5, 1.5, 2]]}]}, "not whole numbers"),
    ],
)
def test_what_is_no_region_is_one_sentence(data, words):
    with pytest.raises(UserError, match=words):
        read_region(data)
