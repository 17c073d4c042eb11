"""Moving splats moves what is seen: covariances by the matrix, and colours with the directions."""

import numpy as np
import pytest

from blender_trellis.splats import harmonics, quaternions
from blender_trellis.splats.values import Splats, joined


def some_splats(count: int = 40, harmonic_count: int = 15, seed: int = 2) -> Splats:
    random = np.random.default_rng(seed)
    values = {
        "position": random.normal(size=(count, 3)),
        "f_dc": random.normal(size=(count, 3)),
        "opacity": random.normal(size=(count, 1)),
        "scale": random.uniform(-5, -2, (count, 3)),
        "rotation": random.normal(size=(count, 4)),
        "f_rest": random.normal(size=(count, 3, harmonic_count)) * 0.3,
    }
    return Splats(**{name: value.astype(np.float32) for name, value in values.items()})


def covariances(splats: Splats) -> np.ndarray:
    axes = quaternions.matrices(splats.rotation) * np.exp(splats.scale)[:, None]
    return axes @ axes.transpose(0, 2, 1)


def _turn(seed: int = 4) -> np.ndarray:
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


def _affine(linear: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, (1.0, -2.0, 0.5)
    return matrix


LINEAR = {
    "turned": _turn(),
    "turned and scaled": 2.5 * _turn(),
    "mirrored": np.diag([-1.0, 1.0, 1.0]),
    "mirrored and turned": 0.3 * _turn() @ np.diag([1.0, -1.0, 1.0]),
    "scaled along axes": _turn() @ np.diag([0.5, 1.0, 3.0]),
    "sheared": np.array([[1.0, 0.7, 0.0], [0.0, 1.0, -0.2], [0.0, 0.0, 1.0]]),
}


@pytest.mark.parametrize("linear", LINEAR.values(), ids=LINEAR.keys())
def test_places_and_covariances_are_those_of_the_matrix(linear):
    splats = some_splats()
    moved = splats.moved(_affine(linear))
    np.testing.assert_allclose(moved.position, splats.position @ linear.T + (1.0, -2.0, 0.5), atol=1e-5)
    np.testing.assert_allclose(
        covariances(moved), linear @ covariances(splats) @ linear.T, rtol=1e-3, atol=1e-6
    )
    np.testing.assert_array_equal(moved.opacity, splats.opacity)


@pytest.mark.parametrize("linear", LINEAR.values(), ids=LINEAR.keys())
def test_vertices_that_are_no_splats_stop_no_others(linear):
    splats = some_splats(20)
    splats.rotation[3], splats.rotation[5], splats.scale[7] = 0, np.nan, np.nan
    good = np.delete(np.arange(20), (3, 5, 7))
    moved = splats.moved(_affine(linear))
    expected = splats.taken(good).moved(_affine(linear))
    np.testing.assert_array_equal(moved.taken(good).rotation, expected.rotation)
    np.testing.assert_array_equal(moved.taken(good).scale, expected.scale)
    assert len(moved.sound().position) == 17  # they are none afterwards either


def test_splats_without_thickness_turn_too():
    splats = some_splats(3)
    splats.scale[:, 1] = -80
    moved = splats.moved(_affine(_turn()))
    expected = quaternions.matrices(splats.rotation).transpose(0, 2, 1) @ _turn().T
    np.testing.assert_allclose(quaternions.matrices(moved.rotation).transpose(0, 2, 1), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["turned", "mirrored", "mirrored and turned"])
@pytest.mark.parametrize("count", [3, 8, 15])
def test_what_was_seen_from_a_direction_is_seen_from_the_turned_one(name, count):
    splats = some_splats(harmonic_count=count)
    linear = LINEAR[name]
    moved = splats.moved(_affine(linear))
    directions = np.random.default_rng(7).normal(size=(30, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    turned = directions @ linear.T / np.cbrt(abs(np.linalg.det(linear)))
    before = splats.f_rest @ harmonics.basis(directions)[:, :count].T
    after = moved.f_rest @ harmonics.basis(turned)[:, :count].T
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_basis_is_that_of_real_spherical_harmonics():
    """Orthonormal on the sphere, with the constant one."""
    points = 20_000
    height = 1 - (2 * np.arange(points) + 1) / points
    around = np.pi * (1 + np.sqrt(5)) * np.arange(points)
    wide = np.sqrt(1 - height**2)
    directions = np.stack([wide * np.cos(around), wide * np.sin(around), height], axis=1)
    values = np.concatenate([np.full((points, 1), harmonics.DC), harmonics.basis(directions)], axis=1)
    np.testing.assert_allclose(4 * np.pi / points * values.T @ values, np.eye(16), atol=1e-3)


def test_joined_splats_keep_their_values_and_lack_no_harmonics():
    with_harmonics, without = some_splats(5, 8), some_splats(3, 0, seed=9)
    both = joined([without, with_harmonics])
    assert len(both) == 8 and both.degree == 2
    assert not both.f_rest[:3].any()
    np.testing.assert_array_equal(both.f_rest[3:], with_harmonics.f_rest)
    np.testing.assert_array_equal(both.rotation[:3], without.rotation)


def test_splats_without_numbers_are_left_out():
    splats = some_splats(6)
    splats.position[0, 1] = np.nan
    splats.f_rest[1, 2, 3] = np.inf
    splats.rotation[2] = 0
    splats.scale[3] = 100.0
    splats.opacity[4] = np.inf  # wholly opaque, which is sound
    sound = splats.sound()
    np.testing.assert_array_equal(sound.position, splats.position[4:])
    assert np.isfinite(sound.opacity).all()
