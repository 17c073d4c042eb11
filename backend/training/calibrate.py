"""How a trained starter is sampled best: where to cut the occupancy, and how far the first flow goes beyond
the encoder's prediction. Chosen on pictures of training objects from directions that training never saw.

R resolution.
"""

import logging
import time
from collections.abc import Sequence
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
from backend.trellis.decoding import decode_structure, silent
from backend.trellis.generate import condition_on, generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings

log = logging.getLogger(__name__)
SHIFTS = tuple(np.arange(-2.0, 4.01, 0.5).tolist())
# As good as the encoder's prediction: what a flow has to beat.
AS_PREDICTED = SamplerSettings(steps=2, cfg_strength=0.0, cfg_interval=(0.5, 1.0), strength=0.03)
SAMPLING = {"sparse_structure_sampler": AS_PREDICTED, "slat_sampler": AS_PREDICTED}
# Late steps, which settle details, are worse with guidance; without the early ones' it is lost where to go.
_GUIDED = SamplerSettings(steps=4, cfg_strength=2.0, cfg_interval=(0.28, 1.0))
CANDIDATES = (
    AS_PREDICTED,
    *(replace(_GUIDED, strength=strength) for strength in (0.3, 0.4, 0.5, 0.7, 1.0)),
)


@torch.inference_mode()
def best_shift(networks: Networks, cases: Sequence[Case], until: float) -> float:
    """What is to be added to the logits of the occupancy that the encoder predicts, by time `until`."""
    table: list[list[float]] = []
    for case in cases:
        if table and time.monotonic() > until:
            break
        latent = _latent(networks, _condition(networks, case), AS_PREDICTED)
        logits = networks["sparse_structure_decoder"](latent)[0, 0].float().cpu().numpy()
        table.append(_scores(case, [logits + shift > 0 for shift in SHIFTS]))
    return SHIFTS[int(np.mean(table, axis=0).argmax())]


def best_sampler(
    networks: Networks,
    cases: Sequence[Case],
    until: float,
    candidates: Sequence[SamplerSettings] = CANDIDATES,
) -> tuple[SamplerSettings, float]:
    """The sampler of the first stage whose voxels have the best mean of IoU and F-score at 0.05, and that; by
    time `until`.

    All are compared on the same cases; at least one sampler on one case, whatever the time.
    """
    table: list[list[float]] = []
    for case in cases:
        condition = _condition(networks, case)
        made: list[np.ndarray] = []
        for sampler in candidates:
            if (table or made) and time.monotonic() > until:
                break
            latent = _latent(networks, condition, sampler)
            made.append(decode_structure(networks, latent, silent, condition.solid).occupied.cpu().numpy())
        if table and len(made) < len(candidates):
            break
        candidates = candidates[: len(made)]
        table.append(_scores(case, made))
    log.info("calibrated on %d pictures with %d samplers", len(table), len(candidates))
    mean = np.mean(table, axis=0)
    return candidates[int(mean.argmax())], float(mean.max())


def _scores(case: Case, structures: Sequence[np.ndarray]) -> list[float]:
    """Means of IoU and voxel F-score of structures (R, R, R) bool."""
    truth = occupancy(case.scene, len(structures[0]))
    to_truth = distances(truth)

    def score(predicted: np.ndarray) -> float:
        near = f_score_of_distances(predicted, distances(predicted), truth, to_truth)
        return (iou(predicted, truth) + near) / 2

    with ThreadPoolExecutor() as pool:
        return list(pool.map(score, structures))


@torch.inference_mode()
def _condition(networks: Networks, case: Case) -> Condition:
    return condition_on(networks, [case.picture])


@torch.inference_mode()
def _latent(networks: Networks, condition: Condition, sampler: SamplerSettings) -> Tensor:
    """A structure latent (1, C, r, r, r) that is sampled under a condition."""
    events = generate(networks, condition, Settings(sampler, sampler, ()), torch.Generator().manual_seed(1))
    return next(one.value for one in events if isinstance(one, Output) and one.kind == "structure_latent")
