"""Tunnels through a solid: those that can be looked through stay, thin bent ones are closed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from skimage.measure import euler_number, marching_cubes

from backend.finishing.chain import finish_mesh
from backend.finishing.settings import FinishSettings
from backend.finishing.tunnels import without_tunnels
from backend.representations.mesh import Mesh

SIZE = 64
THIN, CLEAR = 4.25, 2.5
P = np.moveaxis(np.indices((SIZE,) * 3), 0, -1) - (SIZE - 1) / 2
STRAIGHT = [((-40, 0, 6), (40, 0, 6))]
OBLIQUE = [((-40, -20, -12), (40, 20, 12))]
BENT = [((0, 0, -10), (40, 0, -10)), ((0, 0, -10), (0, 40, -10))]


def ball() -> np.ndarray:
    """Signed distance in cells, negative inside; so are the others."""
    return np.linalg.norm(P, axis=-1) - 24


def drilled(solid: np.ndarray, ways, radius: float) -> np.ndarray:
    """The solid less capsules round the ways from a to b."""
    for a, b in ways:
        a, b = np.array(a, float), np.array(b, float)
        along = np.clip((P - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        solid = np.maximum(solid, radius - np.linalg.norm(P - a - along[..., None] * (b - a), axis=-1))
    return solid


def torus(hole: float) -> np.ndarray:
    ring = np.linalg.norm(P[..., :2], axis=-1) - (hole + 9)
    return np.hypot(ring, P[..., 2]) - 9


def back_of_a_chair() -> np.ndarray:
    """A board of 48 × 48 × 4 cells with four slots of 6 cells."""
    board = np.abs(P) - (24, 24, 2)
    slots = np.min(
        [np.maximum(np.abs(P[..., 0] - x) - 3, np.abs(P[..., 1]) - 18) for x in (-15, -5, 5, 15)], 0
    )
    return np.maximum(board.max(axis=-1), -slots)


def handles(inside: np.ndarray) -> int:
    """Of one solid without hollows."""
    return 1 - int(euler_number(inside, 3))


@pytest.mark.parametrize(
    ("solid", "before", "after"),
    [
        (ball(), 0, 0),
        (torus(3), 1, 1),
        (torus(8), 1, 1),
        (back_of_a_chair(), 4, 4),
        (drilled(ball(), STRAIGHT, 3), 1, 1),
        (drilled(ball(), OBLIQUE, 3.5), 1, 1),
        (drilled(ball(), BENT, 3), 1, 0),
        (drilled(drilled(ball(), BENT, 3), STRAIGHT, 3), 2, 1),
        (drilled(ball(), BENT, 6), 1, 1),
    ],
    ids=[
        "ball",
        "ring",
        "wide ring",
        "chair",
        "drill",
        "oblique drill",
        "bent",
        "bent and straight",
        "wide bent",
    ],
)
def test_what_can_be_looked_through_stays_and_thin_bent_tunnels_are_closed(solid, before, after):
    outside = solid > 0
    assert handles(~outside) == before
    distance = distance_transform_edt(outside).astype(np.float32)
    left, count = without_tunnels(outside, distance, THIN, CLEAR)
    assert handles(~left) == after and count == before - after
    assert not (left & ~outside).any() and (~left).sum() < 1.05 * (~outside).sum()


def test_a_chamber_behind_a_narrow_neck_stays_open():
    chamber = 10 - np.linalg.norm(P, axis=-1)
    solid = drilled(np.maximum(ball(), chamber), [((0, 0, 0), (40, 0, 0))], 3)
    outside = solid > 0
    distance = distance_transform_edt(outside).astype(np.float32)
    left, count = without_tunnels(outside, distance, THIN, CLEAR)
    assert count == 0 and np.array_equal(left, outside)


def finished(solid: np.ndarray):
    points, faces, _, _ = marching_cubes(solid, 0.0, gradient_direction="descent", allow_degenerate=False)
    raw = Mesh(torch.from_numpy(points.copy()).float(), torch.from_numpy(faces.astype(np.int64)))
    return finish_mesh(raw, replace(FinishSettings(), resolution=SIZE, faces=0))


def test_a_sound_mesh_is_drawn_again_only_for_a_tunnel_that_nobody_looks_through():
    _, report = finished(drilled(ball(), STRAIGHT, 2.5))
    assert report.before.genus == report.after.genus == 1 and report.steps[0].detail == "whole already"
    _, report = finished(drilled(ball(), BENT, 2.5))
    assert report.before.genus == 1 and report.after.genus == 0 and report.after.watertight
    assert report.steps[0].detail.endswith("1 hidden tunnel closed")
    assert report.after.volume == pytest.approx(report.before.volume, rel=0.05)


def test_a_long_hole_stays_as_wide_as_it_is_when_the_surface_is_drawn_again():
    mesh, report = finished(drilled(drilled(ball(), BENT, 2.5), STRAIGHT, 2.5))
    assert report.steps[0].detail.endswith("1 hidden tunnel closed") and report.after.genus == 1
    _, y, z = mesh.vertices.double().numpy().T - (SIZE - 1) / 2
    assert np.hypot(y, z - 6).min() > 2
