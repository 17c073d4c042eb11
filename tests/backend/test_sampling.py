"""The sampler on velocities whose answer is known."""

import pytest
import torch

from backend.errors import UserError
from backend.sampling import (
    SamplerSettings,
    average_conditions,
    classifier_free_guidance,
    cycle_conditions,
    flow_euler,
    guided,
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
    [{"steps": 0}, {"steps": 5000}, {"strength": 0.0}, {"rescale_t": 0.0}, {"cfg_strength": float("nan")}],
)
def test_settings_out_of_range_are_refused(overrides):
    with pytest.raises(UserError):
        SamplerSettings().merged(overrides)


def test_overrides_merge_key_by_key():
    merged = SamplerSettings(25, 3.0, 5.0, (0.5, 1.0)).merged({"steps": 12, "cfg_strength": None})
    assert merged == SamplerSettings(12, 3.0, 5.0, (0.5, 1.0))
