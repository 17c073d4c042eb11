"""The image encoder's shapes, geometry and configuration."""

import math
from dataclasses import replace

import pytest
import torch
from training_recipe import tiny_recipe

from backend.checkpoints.weights import read_model, write_model
from backend.errors import UserError
from backend.lifting.image_encoder import LiftingImageEncoder, projection_grid, spread_colors


@pytest.fixture
def encoder() -> LiftingImageEncoder:
    torch.manual_seed(0)
    return LiftingImageEncoder(tiny_recipe().lifting).eval()


def test_it_hands_on_tokens_and_what_both_stages_start_from(encoder):
    lifted = encoder(torch.rand(2, 4, 518, 518))
    assert lifted.tokens.shape == (2, 4**3 + 2 * 2, 64)
    assert lifted.structure_start.shape == (2, 8, 8, 8, 8)
    solid = lifted.solids[1]
    assert len(lifted.solids) == 2 and torch.equal(solid.start, lifted.structure_start[1:])
    assert solid.inside.shape == (16, 16, 16) and solid.colors.shape == (3, 16, 16, 16)
    assert solid.latents(torch.zeros(5, 3, dtype=torch.int32)).shape == (5, 8)


def test_pictures_of_a_batch_do_not_mix(encoder):
    pictures = torch.rand(2, 4, 32, 32)
    together, alone = encoder(pictures), encoder(pictures[1:])
    assert torch.allclose(together.tokens[1], alone.tokens[0], atol=1e-5)
    assert torch.allclose(together.structure_start[1], alone.structure_start[0], atol=1e-5)


def test_the_picture_s_size_does_not_matter(encoder):
    small = torch.nn.functional.interpolate(torch.rand(1, 4, 8, 8), size=(32, 32), mode="bilinear")
    large = small.repeat_interleave(4, -1).repeat_interleave(4, -2)
    a, b = encoder(small).structure_start, encoder(large).structure_start
    assert (a - b).norm() < 0.3 * a.norm()


def test_right_is_x_up_is_z_and_the_far_side_is_drawn_smaller():
    grid = projection_grid(8, elevation=0.0, fov=40.0).view(8, 8, 8, 2)
    assert (grid[1:, ..., 0] > grid[:-1, ..., 0]).all()
    assert (grid[:, :, 1:, 1] < grid[:, :, :-1, 1]).all()
    assert grid[0, 7, 0].norm() < grid[0, 0, 0].norm()


def test_from_above_the_far_side_lies_higher_in_the_picture():
    grid = projection_grid(8, elevation=45.0, fov=40.0).view(8, 8, 8, 2)
    assert (grid[:, 1:, :, 1] < grid[:, :-1, :, 1]).all()


def test_it_survives_being_written_and_read(encoder, tmp_path):
    write_model(encoder, tmp_path / "encoder", half=True)
    again = read_model(tmp_path / "encoder")
    picture = torch.rand(1, 4, 32, 32)
    difference = again(picture).structure_start - encoder(picture).structure_start
    assert difference.abs().max() < 0.05


def test_an_unknown_setting_is_refused():
    with pytest.raises(UserError, match="wings"):
        LiftingImageEncoder.from_args({"wings": 2})


def test_further_blocks_change_nothing_before_they_learn(encoder):
    pictures = torch.rand(1, 4, 64, 64)
    smaller = LiftingImageEncoder(replace(encoder.config, volume_blocks=()))
    smaller.load_state_dict({k: v for k, v in encoder.state_dict().items() if ".more." not in k})
    assert torch.equal(encoder.lift(pictures)[1][-1], smaller.lift(pictures)[1][-1])
    torch.nn.init.ones_(encoder.volume.more[0][0].conv2.weight)
    assert not torch.equal(encoder.lift(pictures)[1][-1], smaller.lift(pictures)[1][-1])


def test_every_level_of_the_volume_has_a_number_of_blocks():
    with pytest.raises(UserError, match="3 levels are 3 numbers"):
        LiftingImageEncoder.from_args({"volume_blocks": [1, 2]})


def test_a_guess_keeps_what_is_likely_enough_for_the_best_overlap(encoder):
    guess = encoder.structure_head
    sure, unsure = torch.full((2, 1, 16, 16, 16), -9.0)
    sure[:, :4], unsure[:, :4] = 6.0, -1.0
    unsure[:, 4:8] = -2.0
    shares = guess.share(torch.stack([sure, unsure]), torch.zeros(2, 1, 16, 16, 16))
    assert shares.shape == (2, 1, 16, 16, 16)
    assert (shares[0, :, :4] > 0.5).all() and (shares[0, :, 4:] < 0.5).all()
    assert (shares[1, :, :4] > 0.5).all()  # a doubtful object is not lost as a whole
    assert (shares[1, :, 8:] < 0.5).all()


@pytest.mark.parametrize("counted", [False, True])
def test_the_border_of_the_solid_is_believed_sooner_but_not_against_the_picture(encoder, counted):
    guess = encoder.structure_head
    surface = torch.full((1, 1, 16, 16, 16), -9.0)
    surface[:, :, :4] = 2.0
    nowhere = torch.zeros_like(surface, dtype=torch.bool)
    recall = guess.config.counted_recall if counted else guess.config.recall
    cut = torch.logit(recall * guess.cut(surface).sigmoid())
    surface[:, :, 8] = cut - 0.9 * math.log(guess.config.border_odds)
    border = nowhere.clone()
    border[:, :, [8, 12]] = True
    full = guess.counted if counted else lambda *logits: guess.share(*logits) > 0.5
    without, found = (full(surface, one)[0, 0] for one in (nowhere, border))
    assert without[:4].all() and not without[4:].any()
    assert found[:4].all() and found[8].all() and not found[9:].any()


def test_the_occupancy_of_a_cell_lies_where_the_cell_does(encoder):
    guess = encoder.structure_head
    with torch.no_grad():
        guess.head[-1].weight.zero_()
        guess.head[-1].bias.copy_(torch.arange(16.0))
    logits = guess.occupancy(torch.zeros(1, 16, 8, 8, 8))
    assert logits.shape == (1, 2, 16, 16, 16)
    assert logits[0, 0, :2, :2, :2].flatten().tolist() == list(range(8))  # x slowest, z fastest
    assert logits[0, 1, 2:4, :2, :2].flatten().tolist() == list(range(8, 16))


def test_colours_spread_from_the_object_over_the_background():
    colors, mask = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[..., 2:6, 2:6] = 1
    colors[:, 0] = mask[:, 0]  # a red square on black
    spread = spread_colors(colors, mask)
    assert torch.allclose(spread[:, 0], torch.ones(1, 16, 16)) and not spread[:, 1:].any()
    mask[..., 12, 12] = 1
    colors[..., 12, 12] = torch.tensor([0.0, 0.0, 1.0])
    spread = spread_colors(colors, mask)
    assert spread[0, 2, 13, 13] == 1 and spread[0, 0, 1, 1] == 1


def test_an_untaught_encoder_colours_voxels_as_the_pixels_before_them(encoder):
    picture = torch.zeros(1, 4, 32, 32)
    picture[:, 0, :, :16], picture[:, 2, :, 16:], picture[:, 3] = 0.9, 0.7, 1
    with torch.no_grad():
        colors = encoder.colors(picture, *encoder.lift(picture))
    assert colors.shape == (1, 3, 16, 16, 16)
    assert torch.allclose(colors[0, :, 2, 8, 8], torch.tensor([0.8, -1.0, -1.0]), atol=0.05)
    assert torch.allclose(colors[0, :, 13, 8, 8], torch.tensor([-1.0, -1.0, 0.4]), atol=0.05)


def test_soft_edges_keep_the_object_s_colour():
    alpha = torch.zeros(1, 1, 16, 16)
    alpha[..., 4:12, 4:12], alpha[..., 4:12, 4] = 1, 0.25
    colors = alpha * torch.tensor([0.8, 0.4, 0.2])[:, None, None]  # on black
    expected = torch.tensor([0.8, 0.4, 0.2])[:, None, None].expand(3, 16, 16)
    assert torch.allclose(spread_colors(colors, alpha)[0], expected)


def test_a_black_part_of_the_object_is_no_background(encoder):
    whole, lost = torch.zeros(1, 4, 32, 32), torch.zeros(1, 4, 32, 32)
    for picture, bottom in ((whole, 24), (lost, 16)):
        picture[:, 3, 8:bottom, 8:24] = 1
        picture[:, :3, 8:16, 8:24] = 0.7  # the lower half, where there is one, is black
    assert not torch.allclose(encoder(whole).tokens, encoder(lost).tokens)
