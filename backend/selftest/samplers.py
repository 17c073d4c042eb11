"""Goldens of the samplers: on an analytic velocity, and on the small recorded flow models."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from backend.checkpoints.weights import read_model
from backend.sampling import SamplerSettings, euler_steps, guided, predict_x0, timesteps
from backend.selftest.golden import Golden

Answers = Iterator[tuple[str, Tensor]]


def settings_of(sampler: str, params: dict[str, Any]) -> SamplerSettings:
    """The published sampler class and its parameters as settings; the plain sampler has no guidance."""
    known = {key: tuple(v) if isinstance(v, list) else v for key, v in params.items()}
    if sampler == "FlowEulerSampler":
        known["cfg_strength"] = 0.0
    return SamplerSettings(**known)


def analytic_velocity(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """The velocity that the recorded runs integrate: x (B, N, C), t ×1000, cond (1 or B, L, C)."""
    drift = 0.7 * x - 0.4 * torch.roll(x, 1, dims=-1) - 0.2 * torch.sin(3 * x)
    return drift + 0.3 * cond.mean(1)[:, :, None] + (t[:, None, None] / 1000) ** 2


def run(
    model: Callable, noise: Tensor, cond: Any, null: Any, settings: SamplerSettings, sigma_min: float
) -> tuple[Tensor, Tensor]:
    """(steps, …) x_t after every step and the x_0 estimates."""
    times = timesteps(settings.steps, settings.rescale_t)
    steps = list(euler_steps(guided(model, [cond], null, settings), noise, times))
    trail = torch.stack([one.after for one in steps])
    return trail, torch.stack([predict_x0(one.before, one.t, one.velocity, sigma_min) for one in steps])


def analytic(golden: Golden) -> Answers:
    for name, recorded in golden.sidecar["runs"].items():
        settings = settings_of(recorded["class"], recorded["params"])
        called: list[float] = []

        def model(x: Tensor, t: Tensor, cond: Tensor, called: list[float] = called) -> Tensor:
            called.append(t)
            return analytic_velocity(x, t, cond)

        cond, null = golden["cond"], golden["neg_cond"]
        trail, estimates = run(model, golden["noise"], cond, null, settings, recorded["sigma_min"])
        yield (
            f"{name}/t_seq",
            torch.tensor(timesteps(settings.steps, settings.rescale_t), dtype=torch.float64),
        )
        yield f"{name}/pred_x_t", trail
        yield f"{name}/pred_x_0", estimates
        yield f"{name}/samples", trail[-1]
        yield f"{name}/model_t", _as_recorded(called, golden[f"{name}/model_t"], settings)


def _as_recorded(called: list[Tensor], recorded: Tensor, settings: SamplerSettings) -> Tensor:
    """Times of the model's calls (calls, B). Guidance of strength 0 spares its second pass only here."""
    times = torch.cat(called).to(recorded.device)[:, None].expand(-1, recorded.shape[1])
    return (
        times.repeat_interleave(2, 0)
        if settings.cfg_strength == 0 and len(recorded) == 2 * len(times)
        else times
    )


def on_models(golden: Golden) -> Answers:
    params = dict(golden.sidecar["params"])
    settings = settings_of(params.pop("sampler"), {k: v for k, v in params.items() if k != "sigma_min"})
    for stage, path in golden.sidecar["uses_checkpoints"].items():
        model = read_model(golden.root / path, torch.float32, golden.device, golden.engine)
        steps = _STAGES[stage](model, golden, settings, params["sigma_min"])
        yield f"{stage}/pred_x_t", steps[0]
        yield f"{stage}/pred_x_0", steps[1]


def _structure(model, golden: Golden, settings: SamplerSettings, sigma_min: float) -> tuple[Tensor, Tensor]:
    cond = golden["ss/cond"]
    contexts = model.context(cond), model.context(torch.zeros_like(cond))
    runs = [run(model, x[None], *contexts, settings, sigma_min) for x in golden["ss/noise"]]
    trail, estimates = (torch.cat(part, dim=1) for part in zip(*runs, strict=True))
    return trail, estimates


def _latent(model, golden: Golden, settings: SamplerSettings, sigma_min: float) -> tuple[Tensor, Tensor]:
    coords, cond = golden["slat/coords"], golden["slat/cond"]
    contexts = model.context(cond), model.context(torch.zeros_like(cond))
    runs = []
    for n in range(int(coords[:, 0].max()) + 1):
        rows = coords[:, 0] == n
        on_structure = partial(model, structure=model.structure(coords[rows, 1:]))
        runs.append(run(on_structure, golden["slat/noise"][rows], *contexts, settings, sigma_min))
    trail, estimates = (torch.cat(part, dim=1) for part in zip(*runs, strict=True))
    return trail, estimates


_STAGES = {"ss": _structure, "slat": _latent}
