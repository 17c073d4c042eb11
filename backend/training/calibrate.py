"""Where to cut the occupancy: the logit shift after which "above 0" gives the best structures on validation
pictures.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backend.conditioning import picture_to_pixels
from backend.evaluation.cases import Case
from backend.evaluation.surface_scores import f_score
from backend.sampling import SIGMA_MIN, SamplerSettings, conditioned, flow_euler, noised, timesteps
from backend.training.dataset import occupancy
from backend.training.workshop import Workshop

SHIFTS = np.arange(-1.0, 4.01, 0.25)
_RADIUS = 0.05
_CPU = torch.device("cpu")


@torch.no_grad()
def structure_logits(
    workshop: Workshop, case: Case, settings: SamplerSettings | None, seed: int = 1
) -> Tensor:
    """Occupancy logits (R, R, R) of a picture, through the flow or, without settings, feed-forward alone."""
    lifted = workshop.lifting(picture_to_pixels(case.picture, _CPU))
    latent = lifted.structure_start
    if settings is not None:
        flow = workshop.structure_flow
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
        start = noised(latent, noise, settings.strength, SIGMA_MIN)
        velocity = conditioned(flow, flow.context(lifted.tokens))
        latent = flow_euler(velocity, start, timesteps(settings.steps, settings.rescale_t, settings.strength))
    return workshop.structure.decoder(latent)[0, 0]


def voxel_f_score(predicted: np.ndarray, truth: np.ndarray, radius: float = _RADIUS) -> float:
    """F-score between the centres of two occupancies (R, R, R); 0 where one is empty."""
    a, b = np.argwhere(predicted) / len(predicted), np.argwhere(truth) / len(truth)
    if len(a) == 0 or len(b) == 0:
        return 0.0
    return f_score(a, b, radius)


def best_shift(
    workshop: Workshop, cases: list[Case], settings: SamplerSettings | None
) -> tuple[float, dict[float, float]]:
    """The shift with the best mean F-score, and the score of every shift tried."""
    scores = {float(shift): 0.0 for shift in SHIFTS}
    for case in cases:
        logits = structure_logits(workshop, case, settings).numpy()
        truth = occupancy(case.scene, workshop.recipe.resolution)
        for shift in scores:
            scores[shift] += voxel_f_score(logits + shift > 0, truth) / len(cases)
    return max(scores, key=scores.__getitem__), scores
