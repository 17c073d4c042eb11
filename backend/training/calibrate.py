"""How a trained starter is sampled best: where to cut the occupancy, and how far its flows go beyond the
encoder's prediction. Chosen on pictures of training objects from directions that training never saw.

R resolution · L voxels.
"""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.evaluation.cases import Case
from backend.evaluation.scores import distances, f_score_of_distances, iou, surface_scores
from backend.evaluation.unit_cube import mesh_asset
from backend.geometry.scene import occupancy
from backend.lifting.image_encoder import LiftedCondition
from backend.representations.flexicubes import extract_mesh
from backend.representations.structure import occupied_voxels
from backend.sampling import SIGMA_MIN, SamplerSettings, Velocity, flow_euler, guided, noised, timesteps
from backend.training.starter.run import StarterRun
from backend.trellis.conditioning import cutout_to_pixels

log = logging.getLogger(__name__)
Score = Callable[[int], list[float]]
"""The scores of a case's variants with the sampler of that number."""
SHIFTS = tuple(np.arange(-2.0, 4.01, 0.5).tolist())
_INTERVAL = [0.5, 1.0]
_SEED = 1


def _settings(strength: float, steps: int, guidance: float) -> dict[str, Any]:
    return {
        "steps": steps,
        "cfg_strength": guidance,
        "cfg_interval": _INTERVAL,
        "rescale_t": 1.0,
        "strength": strength,
    }


# As good as the encoder's prediction: what a flow has to beat.
AS_PREDICTED = _settings(0.03, 2, 0.0)
CANDIDATES = (AS_PREDICTED, *(_settings(s, 12, g) for s in (0.3, 0.5, 0.7, 1.0) for g in (0.0, 3.0)))


def settings_of(params: dict[str, Any]) -> SamplerSettings:
    """pipeline.json's sampler parameters as the sampler takes them."""
    return replace(SamplerSettings(**params), cfg_interval=tuple(params["cfg_interval"]))


def best_structure(
    run: StarterRun, cases: Sequence[Case], until: float, candidates: Sequence[dict[str, Any]] = CANDIDATES
) -> tuple[dict[str, Any], float, float]:
    """Sampler parameters, the shift of the occupancy's logits, and the mean of the voxels' IoU and F-score at
    0.05; by time `until`.
    """
    choices = list(itertools.product(range(len(candidates)), SHIFTS))

    def scores(case: Case) -> Score:
        lifted = _lifted(run, case)
        truth = occupancy(case.scene, run.recipe.structure_resolution)

        def score(number: int) -> list[float]:
            logits = structure_logits(run, lifted, settings_of(candidates[number]))
            return shift_scores(logits.float().cpu().numpy(), truth)

        return score

    table = _table(cases, len(candidates), scores, until)
    number, shift = choices[int(np.argmax(table))]
    return candidates[number], shift, float(table.max())


def best_latent(
    run: StarterRun,
    cases: Sequence[Case],
    structure: dict[str, Any],
    shift: float,
    until: float,
    candidates: Sequence[dict[str, Any]] = CANDIDATES,
) -> tuple[dict[str, Any], float]:
    """Sampler parameters of the structured latent on structures that are sampled and shifted so, and the mean
    of the meshes' F-scores at 0.05 and 0.02.
    """

    def scores(case: Case) -> Score:
        lifted = _lifted(run, case)
        logits = structure_logits(run, lifted, settings_of(structure))
        coords = occupied_voxels(logits + shift, run.recipe.resolution).int()

        def score(number: int) -> list[float]:
            if len(coords) == 0:
                return [0.0]
            return [mesh_score(run, case, lifted, coords, settings_of(candidates[number]))]

        return score

    table = _table(cases, len(candidates), scores, until)
    return candidates[int(np.argmax(table))], float(table.max())


@torch.no_grad()
def _lifted(run: StarterRun, case: Case) -> LiftedCondition:
    return run.lifting(cutout_to_pixels(case.picture, run.device))


@torch.no_grad()
def structure_logits(
    run: StarterRun, lifted: LiftedCondition, settings: SamplerSettings, seed: int = _SEED
) -> Tensor:
    """Occupancy logits (R, R, R) of a picture."""
    flow = run.structure_flow
    velocity = _velocity(flow, flow, lifted.tokens, settings)
    latent = _sampled(velocity, lifted.structure_start, settings, seed)
    return run.structure.decoder(latent)[0, 0]


@torch.no_grad()
def mesh_score(
    run: StarterRun,
    case: Case,
    lifted: LiftedCondition,
    coords: Tensor,
    settings: SamplerSettings,
    seed: int = _SEED,
) -> float:
    """Mean of the F-scores at 0.05 and 0.02 of the mesh on the voxels (L, 3) i32 of a picture."""
    flow, decoder = run.latent_flow, run.latent_autoencoder.mesh_decoder
    x, y, z = coords.long().unbind(1)
    model = partial(flow, structure=flow.structure(coords))
    velocity = _velocity(model, flow, lifted.tokens, settings)
    latents = _sampled(velocity, lifted.latent_start[0, :, x, y, z].T.contiguous(), settings, seed)
    cubes, features = decoder(run.latents.restore(latents), decoder.structure(coords))
    mesh = mesh_asset(extract_mesh(cubes, features.float(), 4 * run.recipe.resolution))
    scores = surface_scores(mesh.vertices, mesh.faces, case.scene.vertices, case.scene.faces)
    return (scores["fscore_005"] + scores["fscore_002"]) / 2


def shift_scores(logits: np.ndarray, truth: np.ndarray) -> list[float]:
    """Means of IoU and voxel F-score of the structures that logits (R, R, R) give at every shift."""
    to_truth = distances(truth)

    def score(shift: float) -> float:
        predicted = logits + shift > 0
        near = f_score_of_distances(predicted, distances(predicted), truth, to_truth)
        return (iou(predicted, truth) + near) / 2

    with ThreadPoolExecutor() as pool:
        return list(pool.map(score, SHIFTS))


def _table(cases: Sequence[Case], count: int, scores: Callable[[Case], Score], until: float) -> np.ndarray:
    """Mean scores of all candidates' variants, flat; −inf for candidates that time did not suffice for.

    Candidates are compared on the same cases, of which there is at least one.
    """
    rows: list[list[list[float]]] = []
    for case in cases:
        row: list[list[float]] = []
        score = scores(case)
        for number in range(count):
            if time.monotonic() > until and (rows or row):
                break
            row.append(score(number))
        if len(row) == count or not rows:
            rows.append(row)
        if time.monotonic() > until:
            break
    log.info("calibrated on %d pictures with %d of %d samplers", len(rows), len(rows[0]), count)
    mean = np.array([row[: len(rows[0])] for row in rows]).mean(axis=0)
    rest = np.full((count - len(mean), mean.shape[1]), -np.inf)
    return np.concatenate([mean, rest]).ravel()


def _velocity(model: Callable[..., Tensor], flow: Any, tokens: Tensor, settings: SamplerSettings) -> Velocity:
    """The flow under a picture's tokens (1, L, C), guided as the settings say."""
    return guided(model, [flow.context(tokens)], flow.context(torch.zeros_like(tokens)), settings)


def _sampled(velocity: Velocity, predicted: Tensor, settings: SamplerSettings, seed: int) -> Tensor:
    noise = torch.randn(predicted.shape, generator=torch.Generator().manual_seed(seed)).to(predicted.device)
    start = noised(predicted, noise, settings.strength, SIGMA_MIN)
    return flow_euler(velocity, start, timesteps(settings.steps, settings.rescale_t, settings.strength))
