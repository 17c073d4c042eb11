"""Rectified-flow sampling: schedule, Euler steps, classifier-free guidance, several conditions.

Source: arXiv 2412.01506 §3.4. A velocity is any callable (x, t, step) -> v with t in [0, 1]; t = 1 is noise,
t = 0 is data. Everything that decides what runs next is a Python number known before the loop starts, so a
step never waits for the device.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from torch import Tensor

from backend.errors import UserError

SIGMA_MIN = 1e-5

Velocity = Callable[[Tensor, float, int], Tensor]
ConditionalModel = Callable[[Tensor, Any, Any], Tensor]
Times = Mapping[float, Any]
"""What a model takes for each time t of a known schedule, computed before the first step."""


@dataclass(frozen=True)
class SamplerSettings:
    """How one flow is sampled; the defaults are those of the published sampler classes."""

    steps: int = 50
    rescale_t: float = 1.0
    cfg_strength: float = 3.0
    cfg_interval: tuple[float, float] = (0.0, 1.0)
    strength: float = 1.0  # 1 starts from pure noise; below 1 from a start latent noised to t = strength
    sigma_min: float = SIGMA_MIN  # noise that is left at t = 0; the Euler step does not use it

    def merged(self, overrides: dict[str, Any]) -> "SamplerSettings":
        """These settings with every override that is not None: merged key by key."""
        return replace(
            self, **{key: value for key, value in overrides.items() if value is not None}
        ).checked()

    def checked(self) -> "SamplerSettings":
        """Self, or a UserError that names the setting out of range."""
        if not 1 <= self.steps <= 1000:
            raise UserError(f"The number of steps is {self.steps}; choose 1 to 1000.")
        if not 0.0 < self.strength <= 1.0:
            raise UserError(f"The strength is {self.strength}; choose a value above 0 and up to 1.")
        if not 0.01 <= self.rescale_t <= 100.0:
            raise UserError(f"rescale_t is {self.rescale_t}; choose 0.01 to 100.")
        if not -100.0 <= self.cfg_strength <= 100.0:
            raise UserError(f"The guidance strength is {self.cfg_strength}; choose 0 to 100.")
        low, high = self.cfg_interval
        if not 0.0 <= low <= high <= 1.0:
            raise UserError(
                f"cfg_interval is {low} to {high}; choose two times from 0 to 1, the smaller one first."
            )
        if not 0.0 <= self.sigma_min < 1.0:
            raise UserError(f"sigma_min is {self.sigma_min}; it must lie between 0 and 1.")
        return self


def timesteps(steps: int, rescale_t: float = 1.0, start: float = 1.0) -> tuple[float, ...]:
    """The steps + 1 times from `start` down to exactly 0, in float64.

    t = r·τ / (1 + (r − 1)·τ) for τ evenly spaced; the first τ is the one that maps to `start`.
    """
    first = start / (rescale_t - (rescale_t - 1.0) * start)
    tau = first * numpy.linspace(1.0, 0.0, steps + 1)
    return tuple((rescale_t * tau / (1.0 + (rescale_t - 1.0) * tau)).tolist())


def noised(start: Tensor, noise: Tensor, t: float, sigma_min: float = SIGMA_MIN) -> Tensor:
    """x_t = (1 − t)·x_0 + (σ + (1 − σ)·t)·ε; at t = 1 this is the plain noise."""
    return noise if t == 1.0 else (1.0 - t) * start + (sigma_min + (1.0 - sigma_min) * t) * noise


def predict_x0(x: Tensor, t: float, velocity: Tensor, sigma_min: float = SIGMA_MIN) -> Tensor:
    """The data estimate hidden in a velocity: (1 − σ)·x_t − (σ + (1 − σ)·t)·v."""
    return (1.0 - sigma_min) * x - (sigma_min + (1.0 - sigma_min) * t) * velocity


@dataclass(frozen=True)
class EulerStep:
    """Step number `step` went from time `t` to the next one of the schedule."""

    step: int
    t: float
    before: Tensor
    velocity: Tensor
    after: Tensor


def euler_steps(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Iterator[EulerStep]:
    """Integrate dx/dt = v from times[0] to times[-1] with Euler's method, a step at a time."""
    for step, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        v = velocity(x, t, step)
        before, x = x, x - (t - t_next) * v
        yield EulerStep(step, t, before, v, x)


def flow_euler(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Tensor:
    """Where `euler_steps` ends."""
    for one in euler_steps(velocity, x, times):
        x = one.after
    return x


@dataclass(frozen=True)
class Known:
    """What a sampler must keep: `data` where `free` is False (both of x's shape, or broadcast to it).

    jumps: passes of each step; between two of them the sample is noised back, so that the free part settles
    beside the known one (RePaint, Lugmayr et al. 2022). `generator` draws that noise.
    """

    data: Tensor
    free: Tensor
    jumps: int = 1
    generator: torch.Generator | None = None


def known_steps(
    velocity: Velocity,
    x: Tensor,
    noise: Tensor,
    times: Sequence[float],
    known: Known,
    sigma_min: float = SIGMA_MIN,
) -> Iterator[EulerStep]:
    """As `euler_steps`, but the known part follows its own straight path, noised by `noise`.

    It ends as `known.data` itself, bit for bit. Where all is free and jumps is 1 the result is that of
    `euler_steps`, bit for bit.
    """
    x = torch.where(known.free, x, noised(known.data, noise, times[0], sigma_min))
    for step, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        path = known.data if t_next == 0.0 else noised(known.data, noise, t_next, sigma_min)
        for jump in range(known.jumps if t_next > 0.0 else 1):
            if jump:
                x = _jump_back(x, t_next, t, noise, known, sigma_min)
            v = velocity(x, t, step)
            before, x = x, torch.where(known.free, x - (t - t_next) * v, path)
        yield EulerStep(step, t, before, v, x)


def _jump_back(x: Tensor, s: float, t: float, noise: Tensor, known: Known, sigma_min: float) -> Tensor:
    """From time s back to t > s with fresh noise, so that the marginals stay N((1 − t)·x_0, n_t²)."""
    n_s, n_t = (sigma_min + (1.0 - sigma_min) * time for time in (s, t))
    keep = (1.0 - t) / (1.0 - s)
    # Drawn for the whole of x, so that the stream does not depend on what is free.
    fresh = torch.randn(x.shape, generator=known.generator).to(x.device)
    back = keep * x + max(0.0, n_t**2 - (keep * n_s) ** 2) ** 0.5 * fresh
    return torch.where(known.free, back, noised(known.data, noise, t, sigma_min))


def conditioned(model: ConditionalModel, context: Any, times: Times | None = None) -> Velocity:
    """The model under one condition; its time input is what `times` holds for t, else 1000·t."""

    def velocity(x: Tensor, t: float, step: int) -> Tensor:
        time = torch.full((1,), 1000.0 * t, device=x.device) if times is None else times[t]
        return model(x, time, context)

    return velocity


def cycle_conditions(
    model: ConditionalModel, contexts: Sequence[Any], times: Times | None = None
) -> Velocity:
    """Several pictures of one object, one a step in turn ("stochastic" in the published code)."""
    velocities = [conditioned(model, context, times) for context in contexts]
    return lambda x, t, step: velocities[step % len(velocities)](x, t, step)


def average_conditions(
    model: ConditionalModel, contexts: Sequence[Any], times: Times | None = None
) -> Velocity:
    """Several pictures of one object, their velocities averaged in every step ("multidiffusion")."""
    velocities = [conditioned(model, context, times) for context in contexts]
    return lambda x, t, step: torch.stack([v(x, t, step) for v in velocities]).mean(0)


def classifier_free_guidance(
    cond: Velocity, null_cond: Velocity, cfg_strength: float, cfg_interval: tuple[float, float] = (0.0, 1.0)
) -> Velocity:
    """(1 + w)·v_cond − w·v_null while lo ≤ t ≤ hi (both ends included), v_cond alone elsewhere."""
    low, high = cfg_interval

    def velocity(x: Tensor, t: float, step: int) -> Tensor:
        v = cond(x, t, step)
        if cfg_strength == 0.0 or not low <= t <= high:
            return v
        return (1.0 + cfg_strength) * v - cfg_strength * null_cond(x, t, step)

    return velocity


def guidance_in_one_pass(
    model: ConditionalModel,
    pairs: Sequence[Any],
    contexts: Sequence[Any],
    settings: SamplerSettings,
    times: Times | None = None,
) -> Velocity:
    """`classifier_free_guidance` of dense x (1, …) with both passes as a batch of two.

    pairs: for each context what joins it with the absence of a condition, as a batch of two. With several the
    steps take them in turn.
    """
    cond, both = cycle_conditions(model, contexts, times), cycle_conditions(model, pairs, times)
    low, high = settings.cfg_interval
    strength = settings.cfg_strength

    def velocity(x: Tensor, t: float, step: int) -> Tensor:
        if strength == 0.0 or not low <= t <= high:
            return cond(x, t, step)
        v, v_null = both(x.expand(2, *x.shape[1:]), t, step).chunk(2)
        return (1.0 + strength) * v - strength * v_null

    return velocity


MULTI_PICTURE = {"stochastic": cycle_conditions, "multidiffusion": average_conditions}


def guided(
    model: ConditionalModel,
    contexts: Sequence[Any],
    null_context: Any,
    settings: SamplerSettings,
    multi: str = "stochastic",
    times: Times | None = None,
) -> Velocity:
    """One velocity for one or several conditions, with classifier-free guidance as the settings say."""
    if multi not in MULTI_PICTURE:
        raise UserError(
            f"Unknown way to use several pictures '{multi}'; choose stochastic or multidiffusion."
        )
    cond = MULTI_PICTURE[multi if len(contexts) > 1 else "stochastic"](model, contexts, times)
    null = conditioned(model, null_context, times)
    return classifier_free_guidance(cond, null, settings.cfg_strength, settings.cfg_interval)
