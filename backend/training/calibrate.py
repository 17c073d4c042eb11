"""How a trained starter is sampled best: where to cut the occupancy, and how far the first flow goes beyond
the encoder's prediction. Chosen on pictures of training objects from directions that training never saw.

R resolution.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from backend.evaluation.cases import Case
from backend.geometry.scene import occupancy
from backend.measures.comparison import distances, f_score_of_distances, iou
from backend.sampling import SamplerSettings
from backend.trellis.conditioning import Condition
from backend.trellis.generate import condition_on, generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings

log = logging.getLogger(__name__)
Score = Callable[[SamplerSettings], list[float]]
"""The scores of a case's variants with a sampler."""
SHIFTS = tuple(np.arange(-2.0, 4.01, 0.5).tolist())
# As good as the encoder's prediction: what a flow has to beat.
AS_PREDICTED = SamplerSettings(steps=2, cfg_strength=0.0, cfg_interval=(0.5, 1.0), strength=0.03)
SAMPLING = {"sparse_structure_sampler": AS_PREDICTED, "slat_sampler": AS_PREDICTED}
CANDIDATES = (
    AS_PREDICTED,
    *(
        replace(AS_PREDICTED, steps=5, strength=strength, cfg_strength=guidance)
        for strength in (0.3, 0.5, 0.7, 1.0)
        for guidance in (0.0, 2.0)
    ),
)


def best_structure(
    networks: Networks,
    cases: Sequence[Case],
    until: float,
    candidates: Sequence[SamplerSettings] = CANDIDATES,
) -> tuple[SamplerSettings, float, float]:
    """The sampler, the shift of the occupancy's logits, and the mean of the voxels' IoU and F-score at 0.05;
    by time `until`.
    """

    def scores(case: Case) -> Score:
        condition = _condition(networks, case)

        def score(sampler: SamplerSettings) -> list[float]:
            logits = _logits(networks, condition, sampler)
            return shift_scores(logits.float().cpu().numpy(), occupancy(case.scene, len(logits)))

        return score

    sampler, variant, mean = _best(cases, candidates, scores, until)
    return sampler, SHIFTS[variant], mean


def shift_scores(logits: np.ndarray, truth: np.ndarray) -> list[float]:
    """Means of IoU and voxel F-score of the structures that logits (R, R, R) give at every shift."""
    to_truth = distances(truth)

    def score(shift: float) -> float:
        predicted = logits + shift > 0
        near = f_score_of_distances(predicted, distances(predicted), truth, to_truth)
        return (iou(predicted, truth) + near) / 2

    with ThreadPoolExecutor() as pool:
        return list(pool.map(score, SHIFTS))


@torch.inference_mode()
def _condition(networks: Networks, case: Case) -> Condition:
    return condition_on(networks, [case.picture])


@torch.inference_mode()
def _logits(networks: Networks, condition: Condition, sampler: SamplerSettings) -> Tensor:
    """Occupancy logits (R, R, R) of a picture."""
    events = generate(networks, condition, Settings(sampler, sampler, ()), torch.Generator().manual_seed(1))
    latents = (one.value for one in events if isinstance(one, Output) and one.kind == "structure_latent")
    return networks["sparse_structure_decoder"](next(latents))[0, 0]


def _best(
    cases: Sequence[Case], samplers: Sequence[SamplerSettings], scores: Callable[[Case], Score], until: float
) -> tuple[SamplerSettings, int, float]:
    """The sampler and the number of its variant with the best mean score, and that.

    All are compared on the same cases; at least one sampler on one case, whatever the time.
    """
    table: list[list[list[float]]] = []
    for case in cases:
        score = scores(case)
        row: list[list[float]] = []
        for sampler in samplers:
            if (table or row) and time.monotonic() > until:
                break
            row.append(score(sampler))
        if table and len(row) < len(samplers):
            break
        samplers = samplers[: len(row)]
        table.append(row)
    log.info("calibrated on %d pictures with %d samplers", len(table), len(samplers))
    mean = np.mean(table, axis=0)
    number, variant = np.unravel_index(mean.argmax(), mean.shape)
    return samplers[number], int(variant), float(mean.max())
