"""The add-on draws and counts exactly the voxels that the backend changes."""

import numpy as np
import pytest

from backend.geometry import region as of_backend
from blender_trellis.editing.region_check import EVERYTHING, NOTHING_LEFT, NOTHING_THERE, why_not
from blender_trellis.editing.region_mask import ClosedMesh, RegionShape, holds_structure, is_closed
from blender_trellis.editing.voxel_cubes import grid_corners, visible_sides

CUBE = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
FACES = np.concatenate([SIDES[:, [0, 1, 2]], SIDES[:, [0, 2, 3]]])


def _box(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 0.25 * random.normal(size=(3, 3)), 0.3 * random.normal(size=3)
    return matrix


def _as_mesh(matrix: np.ndarray) -> ClosedMesh:
    return ClosedMesh(CUBE @ matrix[:3, :3].T + matrix[:3, 3], FACES)


def _on_the_grid() -> np.ndarray:
    """A box whose faces lie on voxel centres of every grid of an even number: 0.25 from the middle of 16³."""
    matrix = np.diag([0.25 - 1 / 32, 0.25 - 1 / 32, 0.25, 1.0])
    matrix[:3, 3] = 1 / 32
    return matrix


@pytest.mark.parametrize("resolution", [16, 32, 64])
@pytest.mark.parametrize("matrix", [*map(_box, range(8)), _on_the_grid(), np.diag([9.0, 9.0, 9.0, 1.0])])
def test_boxes_and_meshes_take_the_voxels_that_the_backend_changes(matrix, resolution):
    mesh = _as_mesh(matrix)
    box = of_backend.Region((of_backend.Box(matrix),)).mask(resolution)
    closed = of_backend.Region((), (of_backend.ClosedMesh(mesh.vertices, mesh.faces),)).mask(resolution)
    np.testing.assert_array_equal(RegionShape((matrix,)).mask(resolution), box)
    np.testing.assert_array_equal(RegionShape((), (mesh,)).mask(resolution), closed)
    np.testing.assert_array_equal(RegionShape((matrix,), (mesh,)).mask(resolution), box | closed)


@pytest.mark.parametrize("place", [(0.9, 0.0, 0.0), (0.0, -0.8, 0.0), (0.75, 0.75, 0.75), (0.2, 0.2, 0.2)])
def test_the_distance_is_the_way_back_to_the_unit_cube(place):
    matrix = np.diag([0.1, 0.1, 0.1, 1.0])
    matrix[:3, 3] = place
    far = np.abs(place) > 0.6
    expected = np.where(far, -np.sign(place) * (np.abs(place) - 0.6), 0.0)
    np.testing.assert_allclose(RegionShape((matrix,)).distance(), expected, atol=1e-12)
    np.testing.assert_allclose(RegionShape((), (_as_mesh(matrix),)).distance(), expected, atol=1e-12)


def test_a_mesh_is_closed_where_its_vertices_meet_even_if_they_are_split():
    mesh = _as_mesh(np.eye(4))
    assert is_closed(mesh)
    split = ClosedMesh(mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    assert is_closed(split)
    assert not is_closed(ClosedMesh(mesh.vertices, mesh.faces[1:]))


def test_the_drawn_sides_enclose_the_voxels():
    taken = np.random.default_rng(3).random((6, 6, 6)) < 0.4
    taken[0], taken[-1] = True, True  # at the border of the grid as well
    volume = sides = 0
    corners = grid_corners(6).astype(float)
    for axis, triangles in enumerate(visible_sides(taken)):
        volume += np.linalg.det(corners[triangles]).sum() / 6
        assert (np.ptp(corners[triangles][..., axis], axis=1) == 0).all()
        sides += len(triangles) // 2
    np.testing.assert_allclose(volume, taken.sum() / 6**3, rtol=1e-5)
    padded = np.pad(taken, 1)
    assert sides == sum(np.abs(np.diff(padded.astype(int), axis=axis)).sum() for axis in range(3))


def test_a_region_between_the_centres_of_a_finer_structure_changes_no_shape():
    shape = RegionShape((np.diag([0.004, 0.2, 0.2, 1.0]),))  # round x = 0
    assert not shape.mask(32).any()
    matrix = shape.boxes[0].copy()
    matrix[0, 3] = 0.5 / 32  # where the coarse voxels have their centres, and the fine ones a side
    shape = RegionShape((matrix,))
    mask, own = shape.mask(32), np.zeros((32,) * 3, bool)
    own[mask] = True
    assert mask.any() and holds_structure(shape, mask, 32) and not holds_structure(shape, mask, 64)
    for mode in ("replace", "add"):
        assert "1/32 of the asset's space" in why_not(mask, own, 10**4, mode, has_structure=False)
    assert why_not(mask, own, 10**4, "look", has_structure=False) == ""
    matrix[0, 0] = 0.02
    assert holds_structure(shape, shape.mask(32), 64)


def test_each_region_that_cannot_be_regenerated_has_its_sentence():
    mask, own = np.zeros((32,) * 3, bool), np.zeros((32,) * 3, bool)
    assert "1/32 of the asset's space" in why_not(mask, own, 5, "replace")
    mask[:8] = True
    assert why_not(mask, own, 5, "look") == why_not(mask, own, 5, "remove") == NOTHING_THERE
    assert why_not(mask, own, 5, "replace") == why_not(mask, own, 5, "add") == ""
    own[0, 0, :5] = True
    assert why_not(mask, own, 5, "replace") == why_not(mask, own, 5, "look") == EVERYTHING
    assert why_not(mask, own, 5, "remove") == NOTHING_LEFT
    assert why_not(mask, own, 5, "add") == ""
    assert {why_not(mask, own, 6, mode) for mode in ("replace", "add", "look", "remove")} == {""}
