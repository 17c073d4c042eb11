"""Parts, handles and the seen share of a mesh, on shapes whose numbers are known."""

import numpy as np
import pytest

pytest.importorskip("numba")

from backend.measures.soundness import genus, seen_share, soundness


def torus(rings: int = 24, sides: int = 12, radius: float = 0.3, tube: float = 0.1):
    u, v = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    a, b = 2 * np.pi * u / rings, 2 * np.pi * v / sides
    reach = radius + tube * np.cos(b)
    vertices = np.stack([reach * np.cos(a), reach * np.sin(a), tube * np.sin(b)], -1).reshape(-1, 3)
    at = lambda i, j: (i % rings) * sides + j % sides  # noqa: E731
    quads = np.stack([at(u, v), at(u + 1, v), at(u + 1, v + 1), at(u, v + 1)], -1).reshape(-1, 4)
    return vertices, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32)


def box(size: float = 0.5, at=(0.0, 0.0, 0.0)):
    corners = np.array(list(np.ndindex(2, 2, 2)), float)
    vertices = (corners - 0.5) * size + np.array(at)
    faces = [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)]
    faces += [(2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)]
    return vertices, np.array(faces, np.int32)


def joined(*meshes):
    shift = np.cumsum([0, *(len(vertices) for vertices, _ in meshes[:-1])])
    faces = np.concatenate([faces + n for (_, faces), n in zip(meshes, shift, strict=True)])
    return np.concatenate([vertices for vertices, _ in meshes]), faces.astype(np.int32)


def test_a_ring_has_one_handle_and_a_box_none():
    found = soundness(*torus())
    assert (found.parts, found.genus) == (1, 1) and found.seen > 0.98
    found = soundness(*box())
    assert (found.parts, found.genus) == (1, 0) and found.seen == 1.0


def test_a_box_without_a_lid_has_a_border_and_no_handle():
    vertices, faces = box()
    assert genus(faces[2:]) == 0


def test_the_genus_is_that_of_the_largest_part():
    found = soundness(*joined(box(0.1, (0.6, 0, 0)), torus(), box(0.1, (-0.6, 0, 0))))
    assert (found.parts, found.genus) == (3, 1)


def test_a_wall_within_a_wall_is_not_seen():
    outer, inner = box(0.8), box(0.6)
    # The areas are as 64 to 36.
    assert seen_share(*joined(outer, inner)) == pytest.approx(0.64, abs=0.02)


def test_vertices_in_one_place_are_one():
    vertices, faces = box()
    found = soundness(vertices[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3))
    assert (found.parts, found.genus) == (1, 0)


def test_no_mesh_has_nothing():
    found = soundness(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    assert (found.parts, found.genus, found.seen) == (0, 0, 0.0)


def test_faces_without_area_change_no_handles():
    vertices, faces = torus()
    assert soundness(vertices, np.concatenate([faces, [[0, 0, 40]]])).genus == 1
