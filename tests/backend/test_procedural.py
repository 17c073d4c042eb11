"""Simple solids are closed and face outwards, and objects put together from them follow from their number."""

import math

import numpy as np
import pytest
from training_shapes import cube, save

from backend.geometry.mesh_files import Asset, read_catalogue
from backend.geometry.scene import occupancy, picture
from backend.training.dataset import ObjectSource, Variety, stretched
from backend.training.procedural.objects import procedural_object
from backend.training.procedural.paint import painted
from backend.training.procedural.primitives import KINDS, Kind
from backend.training.procedural.solids import extruded, lofted, revolved, superellipsoid, swept

_SQUARE = np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1]])


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """By the divergence theorem: positive for a closed surface that faces outwards."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float((np.cross(a, b) * c).sum() / 6)


def _euler_number(vertices: np.ndarray, faces: np.ndarray) -> int:
    """V − E + F with points at one place counted once; every edge must have two faces."""
    _, number = np.unique(vertices.round(9), axis=0, return_inverse=True)
    faces = number.reshape(-1)[faces]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    kinds, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()
    return len(np.unique(faces)) - len(kinds) + len(faces)


def test_a_block_is_closed_and_has_the_volume_of_its_sides():
    solid = lofted(extruded(_SQUARE, 3.0))
    assert _volume(*solid) == pytest.approx(12.0)
    assert _euler_number(*solid) == 2


def test_a_ball_of_many_points_has_the_volume_of_a_ball():
    solid = lofted(superellipsoid(1.0, 1.0, 60, 80))
    assert _volume(*solid) == pytest.approx(4 / 3 * math.pi, rel=0.01)
    assert _euler_number(*solid) == 2


def test_small_exponents_make_a_box_of_a_ball():
    assert _volume(*lofted(superellipsoid(0.02, 0.02, 40, 80))) == pytest.approx(8.0, rel=0.1)


def test_a_ring_has_the_euler_number_of_a_torus_and_its_volume():
    angles = np.arange(40) / 40 * 2 * math.pi
    section = np.stack([1 + 0.25 * np.cos(angles), 0.25 * np.sin(angles)], axis=1)
    solid = lofted(revolved(section, 80), closed=True)
    assert _euler_number(*solid) == 0
    assert _volume(*solid) == pytest.approx(2 * math.pi**2 * 0.25**2, rel=0.01)


def test_a_swept_disc_is_a_closed_cylinder_and_does_not_twist():
    path = np.stack([np.linspace(0, 2, 9), np.zeros(9), np.zeros(9)], axis=1)
    rings = swept(path, np.full(9, 0.5), 64)
    solid = lofted(rings)
    assert _euler_number(*solid) == 2
    assert _volume(*solid) == pytest.approx(2 * math.pi * 0.25, rel=0.01)
    assert np.ptp(rings[1:-1, :, 1:], axis=0) == pytest.approx(np.zeros((64, 2)), abs=1e-12)


def test_equal_rings_are_an_edge_that_shares_no_points():
    vertices, faces = lofted(extruded(_SQUARE, 1.0))
    used_by_caps = {int(v) for f in faces for v in f if np.ptp(vertices[f][:, 2]) == 0}
    used_by_walls = {int(v) for f in faces for v in f if np.ptp(vertices[f][:, 2]) > 0}
    assert not used_by_caps & used_by_walls


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.make.__name__.strip("_"))
def test_every_kind_of_body_faces_outwards_whatever_its_sizes(kind: Kind):
    for seed in range(30):
        vertices, faces = lofted(kind.make(np.random.default_rng(seed)), kind.closed)
        assert np.isfinite(vertices).all()
        assert np.ptp(vertices, axis=0).min() > 0
        assert _volume(vertices, faces) > 0


def test_colours_are_bright_enough_to_be_seen_and_differ():
    vertices, faces = lofted(superellipsoid(1.0, 1.0, 12, 16))
    ball = Asset(vertices / 2, faces, np.zeros((len(faces), 3, 3), np.uint8), np.ones(len(faces), bool))
    seen = [painted(ball, np.random.default_rng(seed)).corner_colors for seed in range(40)]
    assert all(colors.shape == (len(faces), 3, 3) and colors.dtype == np.uint8 for colors in seen)
    assert min(int(colors.max(axis=-1).min()) for colors in seen) >= 30
    assert len({colors.tobytes() for colors in seen}) == 40


def test_an_object_follows_from_its_seed_alone():
    for seed in range(20):
        first, again = (procedural_object(np.random.default_rng(seed)) for _ in range(2))
        assert (first.vertices == again.vertices).all() and (first.corner_colors == again.corner_colors).all()
        assert len(first.faces) == len(first.smooth) == len(first.corner_colors)
        assert first.faces.max() < len(first.vertices)


def test_the_share_of_procedural_and_stretched_objects_is_as_asked(tmp_path):
    save(cube(), tmp_path / "cube.npz")
    entries = read_catalogue(tmp_path)
    source = ObjectSource(entries, 1, Variety(procedural=0.25, stretched=0.5))
    scenes = [source.scene(step)[0] for step in range(200)]
    procedural = [scene for scene in scenes if scene.name != entries[0].name]
    assert 30 <= len(procedural) <= 70
    assert len({len(scene.faces) for scene in procedural}) > 20
    for scene in procedural[:10]:
        assert occupancy(scene, 16).any() and picture(scene, 32).max() > 0
    shown = [scene for scene in scenes if scene.name == entries[0].name]
    triangles = [scene.vertices[scene.faces[0]] for scene in shown]
    sides = [np.sort(np.linalg.norm(np.roll(t, 1, axis=0) - t, axis=1)) for t in triangles]
    cubes = [lengths for lengths in sides if lengths[0] == pytest.approx(lengths[1])]
    assert 0.3 < len(cubes) / len(shown) < 0.7
    assert {ObjectSource(entries).scene(step)[0].name for step in range(50)} == {entries[0].name}


def test_stretching_changes_each_side_by_itself():
    sizes = np.array(
        [np.ptp(stretched(cube(), np.random.default_rng(n)).vertices, axis=0) for n in range(50)]
    )
    assert sizes.std(axis=0).min() > 0.1
    assert np.abs(np.corrcoef(sizes.T) - np.eye(3)).max() < 0.5
