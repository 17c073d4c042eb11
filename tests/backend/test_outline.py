"""What a picture shows is there, and nothing beside it: outlines by construction, on made-up silhouettes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from backend.lifting.image_encoder import LiftingEncoderConfig, outline_of
from backend.lifting.outline import Outline
from backend.lifting.solid import SolidGuess, closed
from backend.lifting.surface import SurfaceGuess

SIZE = 128
CONFIG = LiftingEncoderConfig()
BODY = (44, 60, 84, 110)
POLE = (63, 12, 65, 62)  # 1/64 of the picture wide


def picture(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Alpha (S, S) of boxes (left, top, right, bottom) in pixels."""
    alpha = torch.zeros(SIZE, SIZE)
    for left, top, right, bottom in boxes:
        alpha[top:bottom, left:right] = 1
    return alpha


def ball(radius: float) -> torch.Tensor:
    """Distances (65, 65, 65) in cells to a sphere round the middle of the cube."""
    axis = torch.arange(65.0) - 32
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return (x**2 + y**2 + z**2).sqrt() - radius


def shown(outline: Outline, distance: torch.Tensor, size: int = 48) -> torch.Tensor:
    """Where in the picture (size, size) some of the solid is."""
    cells = ((outline.places[(distance < 0).flatten()] + 1) / 2 * size).long().clamp(0, size - 1)
    seen = torch.zeros(size, size, dtype=torch.bool)
    seen[cells[:, 1], cells[:, 0]] = True
    return seen


def smaller(alpha: torch.Tensor, size: int = 48) -> torch.Tensor:
    return F.interpolate(alpha[None, None], (size, size), mode="area")[0, 0] > 0.4


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_pole_that_the_solid_lacks_stands_where_the_picture_shows_it_thin_and_round():
    outline = outline_of(CONFIG, picture(BODY, POLE))
    after = closed(outline.applied(ball(20)), outline.beside())
    assert agreement(shown(outline, after), smaller(picture(BODY, POLE))) > 0.8
    pole = after[:, :, 54:60] < 0  # above the body
    assert pole.any(0).any(0).all(), "the pole is interrupted"
    for level in range(pole.shape[2]):
        x, y = np.nonzero(pole[:, :, level].numpy())
        assert np.ptp(x) <= 3 and np.ptp(y) <= 5 and abs(x.mean() - 32) < 2
    assert ndimage.label((after < 0).numpy())[1] == 1, "the pole does not touch the body"


def test_nothing_is_left_beside_the_object_and_its_inside_stays():
    alpha = picture((40, 40, 88, 88))
    outline = outline_of(CONFIG, alpha)
    after = outline.applied(ball(30))
    beside = ~smaller(F.max_pool2d(alpha[None], 5, 1, 2)[0])
    assert (shown(outline, ball(30)) & beside).any() and not (shown(outline, after) & beside).any()
    middle = (slice(30, 35),) * 3
    assert (after[middle] < -10).all()


def test_a_hole_that_the_picture_looks_through_stays_open():
    alpha = picture((30, 30, 98, 98))
    alpha[52:76, 52:76] = 0
    outline = outline_of(CONFIG, alpha)
    after = closed(outline.applied(ball(26)), outline.beside())
    seen = shown(outline, after)
    assert not seen[21:27, 21:27].any() and agreement(seen, smaller(alpha)) > 0.8


def test_what_reaches_the_picture_s_border_is_not_cut_there():
    outline = outline_of(CONFIG, picture((0, 40, SIZE, 88)))
    after = outline.applied(ball(14))
    row = shown(outline, after)[24]
    assert row[:24].sum() >= 18 and row[24:].sum() >= 18
    assert torch.isfinite(after).all()


@pytest.mark.parametrize("alpha", [torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)])
def test_a_picture_without_an_outline_changes_nothing(alpha):
    outline = outline_of(CONFIG, alpha)
    inside = (ball(20)[:64, :64, :64] < 0).float()
    assert torch.equal(outline.fitted(inside).applied(ball(20)), ball(20))


def test_size_and_place_in_the_picture_are_found():
    outline = outline_of(CONFIG, torch.zeros(SIZE, SIZE))
    cells = ((outline.places[(ball(20) < 0).flatten()] * 1.16 + 1) / 2 * SIZE).long()
    alpha = torch.zeros(SIZE, SIZE)
    alpha[cells[:, 1], cells[:, 0] + 4] = 1
    alpha = F.max_pool2d(alpha[None], 3, 1, 1)[0]
    found = outline_of(CONFIG, alpha).fitted((ball(20)[:64, :64, :64] < 0).float())
    assert found.scale == pytest.approx(1.16 * 33 / 32, abs=0.05)  # of the surface within the solid
    assert found.shift[0] == pytest.approx(8 / SIZE, abs=0.04) and abs(found.shift[1]) < 0.04


def test_a_sample_s_voxels_hold_the_surface_of_what_it_encloses_within_the_outline():
    inside = (ball(20)[:64, :64, :64] < 0).float()
    outline = outline_of(CONFIG, picture(BODY, POLE))
    surface = SurfaceGuess(CONFIG.surface)
    solid = SolidGuess(inside, torch.zeros(3, 32, 32, 32), surface, torch.zeros(1, 8, 16, 16, 16), outline)
    shell = (ball(20)[:64, :64, :64].abs() < 1).float() * 10 - 5
    shape = solid.shaped(shell, shell)
    assert shape.held[:, :, 54:59].any(0).any(0).all(), "the pole has no voxels"
    some = F.max_pool3d(shape.held[None, None].float(), 2)[0, 0] > 0
    below, above = (F.max_pool3d(-sign * shape.distance[None, None], 3, 2)[0, 0] for sign in (1, -1))
    crossed = (below > 0.3) & (above > 0.3)
    assert some[crossed].float().mean() > 0.95, "the surface leaves the voxels"
    assert solid.shows(shape.occupied) > 0.95


def test_what_the_picture_shows_at_the_end_of_the_cube_is_closed_there():
    inside = (ball(20)[:64, :64, :64] < 0).float()
    outline = outline_of(CONFIG, picture(BODY, (0, 84, SIZE, 96)))
    surface, start = SurfaceGuess(CONFIG.surface), torch.zeros(1, 8, 16, 16, 16)
    solid = SolidGuess(inside, torch.zeros(3, 32, 32, 32), surface, start, outline)
    shell = (ball(20)[:64, :64, :64].abs() < 1).float() * 10 - 5
    shape = solid.shaped(shell, shell)
    assert (shape.distance[[0, -1]] > 0).all() and (shape.distance[[1, -2]] < 0).any()
    assert shape.occupied[[0, -1]].any()


def test_a_hole_in_a_sampled_surface_does_not_empty_the_solid():
    inside = 0.9 * (ball(20)[:64, :64, :64] < 0).float()
    start = torch.zeros(1, 8, 16, 16, 16)
    solid = SolidGuess(inside, torch.zeros(3, 32, 32, 32), SurfaceGuess(CONFIG.surface), start)
    shell = (ball(20)[:64, :64, :64].abs() < 1).float() * 10 - 5
    leaky = shell.clone()
    leaky[29:35, :20, 29:35] = -5
    whole, shape = (solid.shaped(one, shell).distance < 0 for one in (shell, leaky))
    assert whole.sum() > 4 / 3 * np.pi * 19**3 and (whole & ~shape).sum() < 30


def test_the_likeliest_voxels_count_where_a_sample_agrees_with_its_guess():
    inside = (ball(20)[:64, :64, :64] < 0).float()
    shell = (ball(20)[:64, :64, :64].abs() < 1).float() * 10 - 5
    counted = (ball(22)[:64, :64, :64] < 0) & (inside == 0)
    sampled = shell.clone()
    sampled[54:58, 31:34, 31:34], sampled[31:34, 10:14, 31:34] = 5, -5  # one place more, another less
    surface, start = SurfaceGuess(CONFIG.surface), torch.zeros(1, 8, 16, 16, 16)
    plain = SolidGuess(inside, torch.zeros(3, 32, 32, 32), surface, start)
    before, shape = (one.shaped(sampled, shell) for one in (plain, replace(plain, counted=counted)))
    agrees = (sampled > 0) == (shell > 0)
    assert torch.equal(shape.distance, before.distance)
    assert shape.occupied[agrees & counted].all() and not (shape.occupied & ~before.occupied & ~counted).any()
    assert torch.equal(shape.occupied[~agrees], before.occupied[~agrees]) and shape.occupied[55, 32, 32]
