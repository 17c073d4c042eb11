"""The sampler on velocities whose answer is known."""

import pytest
import torch

from backend.errors import UserError
from backend.sampling import (
    Known,
    SamplerSettings,
    average_conditions,
    classifier_free_guidance,
    cycle_conditions,
    flow_euler,
    guided,
    known_steps,
    noised,
    predict_x0,
    timesteps,
)


def test_schedule_is_the_published_one():
    assert timesteps(12, 3.0) == pytest.approx(
        [1, 0.97059, 0.9375, 0.9, 0.85714, 0.80769, 0.75, 0.68182, 0.6, 0.5, 0.375, 0.21429, 0], abs=1e-5
    )
    assert timesteps(12, 3.0)[9] == 0.5  # exactly, so that the step is guided


@pytest.mark.parametrize("start", [1.0, 0.7, 0.05])
def test_schedule_begins_at_the_strength_and_ends_at_zero(start):
    times = timesteps(7, 3.0, start)
    assert times[0] == pytest.approx(start) and times[-1] == 0.0
    assert all(a > b for a, b in zip(times[:-1], times[1:], strict=True))


@pytest.mark.parametrize("steps", [1, 4])
def test_a_straight_flow_is_solved_exactly(steps):
    data, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    solved = flow_euler(lambda x, t, step: noise - data, noise, timesteps(steps, 3.0))
    assert torch.allclose(solved, data, atol=1e-6)


def test_x0_undoes_the_noising():
    data, noise = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    velocity = (1 - 1e-5) * noise - data
    assert torch.allclose(predict_x0(noised(data, noise, 0.37), 0.37, velocity), data, atol=1e-12)


def test_guidance_interval_includes_both_ends():
    calls = []
    null = lambda x, t, step: calls.append(t) or torch.zeros_like(x)  # noqa: E731
    velocity = classifier_free_guidance(lambda x, t, step: torch.ones_like(x), null, 2.0, (0.5, 0.75))
    values = {t: velocity(torch.zeros(1), t, 0).item() for t in (1.0, 0.75, 0.6, 0.5, 0.49)}
    assert values == {1.0: 1.0, 0.75: 3.0, 0.6: 3.0, 0.5: 3.0, 0.49: 1.0}
    assert calls == [0.75, 0.6, 0.5]


@pytest.mark.parametrize("multi", ["stochastic", "multidiffusion"])
def test_times_computed_before_reach_every_condition(multi):
    seen = []

    def model(x, time, context):
        seen.append((time, context))
        return x

    times = timesteps(2, 3.0)
    velocity = guided(model, ["a", "b"], "null", SamplerSettings(), multi, {t: f"at {t}" for t in times})
    velocity(torch.zeros(1), times[1], 1)
    assert {time for time, _ in seen} == {f"at {times[1]}"}
    assert seen[-1][1] == "null" and ("b" in {context for _, context in seen})


def test_no_guidance_costs_no_second_pass():
    def null(x, t, step):
        raise AssertionError("the null condition must not be evaluated")

    velocity = classifier_free_guidance(lambda x, t, step: x, null, 0.0)
    assert velocity(torch.ones(1), 0.7, 0).item() == 1.0


def test_several_conditions_take_turns_or_are_averaged():
    model = lambda x, t, context: torch.full_like(x, context)  # noqa: E731
    cycle, average = cycle_conditions(model, [1.0, 2.0, 6.0]), average_conditions(model, [1.0, 2.0, 6.0])
    assert [cycle(torch.zeros(1), 1.0, step).item() for step in range(4)] == [1, 2, 6, 1]
    assert average(torch.zeros(1), 1.0, 0).item() == 3.0


def test_the_model_is_given_a_thousand_t():
    seen = []
    guided(lambda x, t, context: seen.append(t) or x, ["a"], "b", SamplerSettings(cfg_strength=0.0))(
        torch.zeros(1), 0.25, 0
    )
    assert seen[0].item() == 250.0 and seen[0].dtype == torch.float32


@pytest.mark.parametrize(
    "overrides",
    [
        *({"steps": 0}, {"steps": 5000}, {"strength": 0.0}, {"rescale_t": 0.0}),
        *({"cfg_strength": float("nan")}, {"cfg_interval": (0.8, 0.2)}, {"cfg_interval": (0.0, 1.5)}),
    ],
)
def test_settings_out_of_range_are_refused(overrides):
    with pytest.raises(UserError):
        SamplerSettings().merged(overrides)


def test_overrides_merge_key_by_key():
    merged = SamplerSettings(25, 3.0, 5.0, (0.5, 1.0)).merged({"steps": 12, "cfg_strength": None})
    assert merged == SamplerSettings(12, 3.0, 5.0, (0.5, 1.0))


class Mixture:
    """Two Gaussians in the plane with one covariance, under the flow that turns noise into them."""

    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    means = torch.tensor([[1.5, 1.0], [-1.0, -0.5]], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)

    def velocity(self, x: torch.Tensor, t: float, step: int) -> torch.Tensor:
        """E[(1 - sigma) noise - data | x_t = x] in closed form, for x (B, 2)."""
        spread = 1e-5 + (1 - 1e-5) * t
        total = (1 - t) ** 2 * self.covariance + spread**2 * torch.eye(2, dtype=torch.float64)
        away = x[:, None] - (1 - t) * self.means
        solved = away @ torch.linalg.inv(total)
        share = torch.softmax(self.weights.log() - 0.5 * (away * solved).sum(-1), dim=1)
        data = self.means + (1 - t) * solved @ self.covariance
        data = (share[..., None] * data).sum(1)
        return (1 - 1e-5) * (x - (1 - t) * data) / spread - data

    def moments_given_second(self, value: float) -> tuple[float, float]:
        """Mean and variance of the first coordinate where the second is `value`."""
        (a, b), (_, c) = self.covariance.tolist()
        share = torch.softmax(self.weights.log() - 0.5 * (value - self.means[:, 1]) ** 2 / c, dim=0)
        means = self.means[:, 0] + b / c * (value - self.means[:, 1])
        mean = (share * means).sum()
        return mean.item(), (a - b * b / c + (share * means**2).sum() - mean**2).item()


def refilled(jumps: int, value: float, count: int = 6000) -> tuple[float, float]:
    """Mean and variance of the first coordinate, sampled beside the known second one."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    data = torch.tensor([[0.0, value]], dtype=torch.float64).expand(count, 2)
    known = Known(data, torch.tensor([True, False]), jumps, generator)
    *_, last = known_steps(Mixture().velocity, noise, noise, timesteps(25), known)
    assert torch.equal(last.after[:, 1], data[:, 1])
    return last.after[:, 0].mean().item(), last.after[:, 0].var().item()


@pytest.mark.parametrize("value", [-0.4, 0.6])
def test_what_is_filled_in_follows_the_conditional_distribution_as_jumps_grow(value):
    mean, variance = Mixture().moments_given_second(value)
    errors = []
    for jumps in (1, 4, 32):
        found = refilled(jumps, value)
        errors.append(abs(found[0] - mean) + abs(found[1] - variance))
    assert errors[0] > errors[1] > errors[2]
    # 6,000 samples have standard errors of 0.01 and 0.03; 32 passes a step leave a bias of about 0.05.
    assert errors[2] < 0.15


def test_all_free_is_plain_sampling_bit_for_bit():
    noise, data = torch.randn(3, 7), torch.randn(3, 7)
    velocity = lambda x, t, step: torch.sin(3 * x) + t  # noqa: E731
    known = Known(data, torch.ones(3, 7, dtype=torch.bool))
    *_, last = known_steps(velocity, noise, noise, timesteps(5, 3.0), known)
    assert torch.equal(last.after, flow_euler(velocity, noise, timesteps(5, 3.0)))


def test_nothing_free_gives_the_data_back_bit_for_bit():
    noise, data = torch.randn(3, 7), torch.randn(3, 7)
    known = Known(data, torch.zeros(3, 7, dtype=torch.bool), 3, torch.Generator().manual_seed(1))
    *_, last = known_steps(lambda x, t, step: 100 * x, noise, noise, timesteps(5), known)
    assert torch.equal(last.after, data)


def test_what_is_free_does_not_shift_the_stream_of_noise():
    """Two masks that agree on a cell whose velocity looks at that cell alone give it the same value."""
    noise, data = torch.randn(8), torch.randn(8)
    ends = []
    for free in ([True] + [False] * 7, [True] * 8):
        known = Known(data, torch.tensor(free), 3, torch.Generator().manual_seed(1))
        *_, last = known_steps(lambda x, t, step: torch.sin(x), noise, noise, timesteps(6), known)
        ends.append(last.after[0].item())
    assert ends[0] == ends[1]
