"""Losses, schedule and scores on cases whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_shapes import cube, sphere

from backend.measures.comparison import f_score, sample_surface, surface_scores, voxel_f_score
from backend.sampling import SIGMA_MIN, conditioned, flow_euler, noised, timesteps
from backend.training.losses import (
    drop_condition,
    flow_matching_loss,
    interpolate,
    kl_divergence,
    logit_normal_times,
    noised_latent,
    soft_dice,
)
from backend.training.schedule import AdaptiveClip, MovingAverage, learning_rate_factor
from backend.training.starter.gaussian_targets import extents


def test_the_velocity_that_the_flow_loss_asks_for_leads_from_noise_to_data():
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 5, 3, generator=generator)
    target = (1 - SIGMA_MIN) * noise - x0
    assert flow_matching_loss(target, x0, noise) < 1e-12
    velocity = conditioned(lambda x, t, context: target, None)
    reached = flow_euler(velocity, interpolate(x0, noise, torch.tensor([0.6])), timesteps(3, start=0.6))
    # The path ends at x0 + σ·ε.
    assert reached == pytest.approx(x0 + SIGMA_MIN * noise, abs=1e-5)


def test_training_and_sampling_noise_alike():
    x0, noise = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(interpolate(x0, noise, torch.tensor([0.3])), noised(x0, noise, 0.3), atol=1e-6)


def test_times_follow_the_logit_normal_density():
    times = logit_normal_times(20_000, 1.0, 1.0, torch.Generator().manual_seed(0))
    assert times.median() == pytest.approx(1 / (1 + math.exp(-1)), abs=0.01)
    assert 0 < times.min() and times.max() < 1


def test_dropped_conditions_are_whole_sequences_of_zeros():
    tokens = drop_condition(torch.ones(2000, 3, 2), 0.1, torch.Generator().manual_seed(0))
    kept = tokens.flatten(1).sum(1)
    assert set(kept.tolist()) == {0.0, 6.0}
    assert (kept == 0).float().mean() == pytest.approx(0.1, abs=0.03)


def test_dropped_conditions_become_the_null_sequence_in_the_precision_of_the_tokens():
    null = torch.full((1, 3, 2), 2.0, dtype=torch.float16)
    tokens = drop_condition(torch.ones(2000, 3, 2), 0.1, torch.Generator().manual_seed(0), null)
    zeroed = drop_condition(torch.ones(2000, 3, 2), 0.1, torch.Generator().manual_seed(0))
    assert tokens.dtype == torch.float32
    assert torch.equal(tokens, 2 - zeroed)  # the same sequences are dropped


def test_a_latent_is_noised_with_times_drawn_before_the_noise():
    x0 = torch.ones(4, 3, 2)
    x, t, noise = noised_latent(x0, 4, 1.0, 0.5, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(t, logit_normal_times(4, 1.0, 0.5, generator))
    assert torch.equal(noise, torch.randn(x0.shape, generator=generator))
    assert torch.equal(x, interpolate(x0, noise, t))


def test_dice_is_zero_for_the_right_answer_and_one_for_the_opposite():
    target = (torch.arange(1000) % 2).float()[None]
    assert soft_dice(40 * (target - 0.5), target) < 1e-3
    assert soft_dice(40 * (0.5 - target), target) > 0.99


def test_small_objects_count_as_much_in_dice_as_large_ones():
    target = torch.zeros(2, 10_000)
    target[0, :100], target[1, :9000] = 1, 1
    right, wrong = 40 * (target - 0.5), 40 * (0.5 - target)
    for small, large in ((right, wrong), (wrong, right)):
        assert soft_dice(torch.stack([small[0], large[1]]), target) == pytest.approx(0.5, abs=0.01)


def test_divergence_vanishes_for_the_standard_normal():
    assert kl_divergence(torch.zeros(4), torch.zeros(4)) == 0
    assert kl_divergence(torch.ones(4), torch.zeros(4)) == pytest.approx(0.5)


def test_the_learning_rate_warms_up_and_decays():
    assert learning_rate_factor(0, 100, 0.0) == pytest.approx(0.01)
    assert learning_rate_factor(500, 100, 0.0) == pytest.approx(1.0)
    assert learning_rate_factor(500, 100, 1.0) == pytest.approx(0.02)


def test_the_moving_average_follows_the_weights():
    layer = torch.nn.Linear(1, 1)
    average = MovingAverage(layer, 0.9)
    torch.nn.init.constant_(layer.weight, 5.0)
    for step in range(200):
        average.update(layer, step)
    average.copy_to(layer)
    assert layer.weight.item() == pytest.approx(5.0, abs=1e-3)


def test_clipping_adapts_once_it_has_seen_enough_norms():
    clip = AdaptiveClip(1.0, window=20)
    parameter = torch.nn.Parameter(torch.zeros(1))
    for n in range(20):
        parameter.grad = torch.tensor([0.01 * (n + 1)])
        clip([parameter])
    assert clip.threshold() == pytest.approx(0.19)
    parameter.grad = torch.tensor([3.0])
    assert clip([parameter]) == pytest.approx(3.0)
    assert parameter.grad.item() == pytest.approx(0.19, rel=1e-3)


def test_a_mesh_scores_one_against_itself_and_less_against_another():
    ball, box = sphere(), cube()
    same = surface_scores(ball, ball)
    assert same["fscore_005"] > 0.999 and same["chamfer"] < 0.02
    other = surface_scores(ball, box)
    assert other["fscore_002"] < 0.5
    assert surface_scores(replace(ball, faces=ball.faces[:0]), box)["fscore_005"] == 0


def test_surface_points_lie_on_the_surface_and_cover_it_evenly():
    points = sample_surface(cube().vertices, cube().faces, 6000, np.random.default_rng(0))
    assert np.abs(points).max(axis=1) == pytest.approx(np.full(6000, 0.5), abs=1e-6)
    assert (points[:, 0] > 0.4999).mean() == pytest.approx(1 / 6, abs=0.02)


def test_f_score_is_the_harmonic_mean():
    """One point is predicted of four in a row: all that is there is right, and a quarter is there."""
    to_truth, to_predicted = np.array([0.0]), np.array([0.0, 1.0, 2.0, 3.0])
    assert f_score(to_truth, to_predicted, 0.1) == pytest.approx(2 * 1.0 * 0.25 / 1.25)
    assert f_score(to_predicted[1:], to_predicted[1:], 0.1) == 0


def test_extents_are_measured_across_and_along_the_surface():
    covariance = torch.tensor([[4.0, 0.0, 0.0, 9.0, 0.0, 16.0]])
    across, along = extents(covariance, torch.tensor([[1.0, 0.0, 0.0]]))
    assert across.item() == pytest.approx(2.0) and along.item() == pytest.approx(math.sqrt(12.5))


def test_voxel_scores_forgive_a_neighbour_and_not_an_empty_structure():
    truth = np.zeros((32, 32, 32), bool)
    truth[10:20, 10:20, 10] = True
    assert voxel_f_score(truth, truth) == 1.0
    assert voxel_f_score(np.roll(truth, 1, axis=2), truth) == 1.0  # 1/32 is within 0.05
    assert voxel_f_score(np.roll(truth, 2, axis=2), truth) == 0.0
    assert voxel_f_score(np.zeros_like(truth), truth) == 0.0
