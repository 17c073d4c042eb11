"""From a guessed solid to the latents of its surface: distances, features, and which voxels get latents."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from training_recipe import tiny_recipe
from training_shapes import sphere

from backend.geometry.scene import make_scene, occupancy
from backend.geometry.views import LONGEST_SIDE, fixed_view
from backend.lifting.image_encoder import LiftingEncoderConfig, LiftingImageEncoder, outline_of
from backend.lifting.mesh_features import voxel_features
from backend.lifting.solid import TOO_FULL, SolidGuess
from backend.lifting.surface import (
    FEATURES,
    THICKENING,
    SurfaceGuess,
    border_distance,
    borders,
    missing,
    solid_features,
)
from backend.representations.enclosed import enclosed


def ball(resolution: int, radius: float, softness: float = 0.02) -> torch.Tensor:
    """Probabilities (1, 1, R, R, R) that fall from 1 to 0 round a sphere."""
    axis = (torch.arange(resolution) + 0.5) / resolution - 0.5
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.sigmoid((radius - (x**2 + y**2 + z**2).sqrt()) / softness)[None, None]


def test_the_distance_to_a_ball_s_border_is_that_of_the_sphere():
    distance = border_distance(ball(64, 0.3), torch.full((1, 1, 1, 1, 1), 0.5), cells=64)[0]
    axis = torch.arange(65) / 64 - 0.5
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    true = ((x**2 + y**2 + z**2).sqrt() - 0.3) * 64
    close = true.abs() < 1
    assert (distance - true)[close].abs().max() < 0.15
    assert (distance.sign() == true.sign())[true.abs() > 0.2].all()


def test_a_higher_level_moves_the_border_inwards():
    probabilities = ball(32, 0.3)
    low, high = (border_distance(probabilities, torch.full((1, 1, 1, 1, 1), v), 32) for v in (0.3, 0.7))
    assert (low < 0).sum() > (high < 0).sum() > 0


def test_voxels_that_a_border_crosses_are_found():
    distance = border_distance(ball(32, 0.3), torch.full((1, 1, 1, 1, 1), 0.5), 32)
    found = borders(distance, 32)
    assert found.shape == (1, 1, 32, 32, 32)
    axis = (torch.arange(32) + 0.5) / 32 - 0.5
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    gap = ((x**2 + y**2 + z**2).sqrt() - 0.3).abs() * 32
    assert found[0, 0][gap < 0.3].all() and not found[0, 0][gap > 1.0].any()
    coarse = borders(distance, 16)
    assert torch.equal(coarse, torch.nn.functional.max_pool3d(found.float(), 2) > 0)


def test_a_coarse_structure_is_brought_to_the_encoder_s_grid():
    distance = border_distance(ball(16, 0.3, 0.05), torch.full((1, 1, 1, 1, 1), 0.5), cells=32)[0]
    assert distance.shape == (33, 33, 33)
    axis = torch.arange(33) / 32 - 0.5
    assert abs(float(distance[:, 16, 16][(axis - 0.3).abs().argmin()])) < 1.0


def test_a_guessed_ball_has_the_features_of_a_true_one():
    scene = make_scene("ball", sphere(), fixed_view(0.0, 0.2, 0.7))
    coarse = occupancy(scene, 16)
    coords = np.argwhere(coarse).astype(np.int32)
    true = voxel_features(scene, coords, 16)
    distance = border_distance(ball(32, LONGEST_SIDE / 2, 0.02), torch.full((1, 1, 1, 1, 1), 0.5), cells=32)[
        0
    ]
    guessed = solid_features(distance, torch.from_numpy(coords), torch.zeros(len(coords), 3)).numpy()
    assert guessed.shape == true.shape == (len(coords), FEATURES)
    thin = np.clip(true[:, :27] + THICKENING * 16, -1, 1)  # as a surface is, a solid is not
    assert np.abs(guessed[:, :27] - thin).mean() < 0.1


def test_the_voxels_of_another_shape_say_where_its_surface_is():
    torch.manual_seed(0)
    encoder = LiftingImageEncoder(tiny_recipe().lifting).eval()
    for parameter in encoder.surface_head.parameters():  # the last layer starts at zero
        torch.nn.init.normal_(parameter, std=0.1)
    inside, start = ball(16, 0.2, 0.02)[0, 0], torch.zeros(1, 8, 8, 8, 8)
    colors = [torch.full((3, 16, 16, 16), tint) for tint in (0.0, 1.0)]
    grey, white = (SolidGuess(inside, tint, encoder.surface_head, start) for tint in colors)
    middles, corners = (radii(torch.linspace(-0.5 + end, 0.5 - end, n)) for end, n in ((1 / 64, 32), (0, 33)))
    shell = (middles < 0.4) & (middles >= 0.4 - 1 / 32)
    truth = (corners - 0.4 + 1 / 64) * 32
    distance = grey.around(shell).distance
    assert distance.shape == (33, 33, 33) and distance[16, 16, 16] < -5
    assert (distance - truth)[truth.abs() < 2].abs().max() < 1.2
    assert (distance - truth)[truth.abs() < 2].abs().mean() < 0.4
    logits = shell.float() - 0.5
    own = grey.of_asset(truth, shell, start, None).shaped(logits, logits)
    assert own.occupied[shell].all()
    assert (own.distance - truth)[truth.abs() < 2].abs().mean() < 0.4
    coords = torch.unique(torch.argwhere(shell) // 2, dim=0).int()
    with torch.no_grad():
        latents, others = (one.around(shell).latents(coords) for one in (grey, white))
    assert latents.shape == (len(coords), 8) and ((latents - others).abs() > 1e-3).any(dim=1).all()


def test_a_guess_that_is_as_much_too_full_as_guesses_are_has_its_border_where_the_surface_is():
    scene = make_scene("ball", sphere(), fixed_view(0.0, 0.2, 0.7))
    truth = (radii(torch.linspace(-0.5, 0.5, 65)) - LONGEST_SIDE / 2) * 64
    distance = shape_of(torch.from_numpy(occupancy(scene, 64)), 1.5)
    near = truth.abs() < 0.8
    near[[0, -1]] = near[:, [0, -1]] = near[:, :, [0, -1]] = False  # where the cube ends
    assert abs(float((distance - truth)[near].mean()) - TOO_FULL) < 0.2


def test_a_sheet_two_voxels_thick_stays():
    sheet = torch.zeros(64, 64, 64, dtype=torch.bool)
    sheet[12:52, 30:32, 12:52] = True
    assert (shape_of(sheet, 0.5)[14:50, 30:33, 14:50] < 0).any(dim=1).all()


def shape_of(occupied: torch.Tensor, blur: float) -> torch.Tensor:
    """Distances (65, 65, 65) to the border that a blurred guess of voxels (64, 64, 64) has."""
    solid = torch.from_numpy(gaussian_filter(enclosed(occupied.numpy()).astype(np.float32), blur))
    colors, start = torch.zeros(3, 32, 32, 32), torch.zeros(1, 8, 16, 16, 16)
    config = LiftingEncoderConfig()
    everywhere = outline_of(config, torch.ones(128, 128))
    guess = SolidGuess(solid, colors, SurfaceGuess(config.surface), start, everywhere)
    logits = occupied.float() - 0.5
    return guess.shaped(logits, logits).distance


def radii(axis: torch.Tensor) -> torch.Tensor:
    """(n, n, n): how far the places of a grid lie from its middle."""
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)


def test_solid_is_what_hides_behind_the_surface():
    shell = np.zeros((12, 12, 12), bool)
    shell[2:10, 2:10, 2:10] = True
    shell[3:9, 3:9, 3:9] = False
    filled = enclosed(shell)
    assert filled[2:10, 2:10, 2:10].all() and filled.sum() == 8**3
    tent = shell.copy()
    tent[:, :, 2] = False  # no bottom, as many a house
    assert enclosed(tent)[3:9, 3:9, 3:9].all()
    cup = shell.copy()
    cup[3:9, 3:9, 9] = False  # open above
    assert not enclosed(cup)[4:8, 4:8, 4:8].any()


def test_a_border_fills_the_cells_that_hold_nothing_and_no_others():
    border = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    border[..., 3] = True
    occupied = torch.zeros_like(border)
    occupied[:, :, :4, :, 2] = True  # beside half of the border, in the same cells of two voxels a side
    expected = border.clone()
    expected[:, :, :4] = False
    assert torch.equal(missing(border, occupied, 2), expected)
