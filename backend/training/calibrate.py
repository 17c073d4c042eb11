"""How a trained starter is sampled best: where to cut the occupancy, and how far its flows go beyond the
encoder's first guess. Chosen on pictures of training objects from directions that training never saw.

R resolution · L voxels.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.conditioning import picture_to_pixels
from backend.evaluation.cases import Case
from backend.evaluation.unit_cube import unit_occupancy
from backend.evaluation.voxel_scores import distances, f_score_of_distances
from backend.sampling import SIGMA_MIN, SamplerSettings, Velocity, flow_euler, guided, noised, timesteps
from backend.training.autoencoder_latent import coarse_occupancy, splats_config
from backend.training.dataset import occupancy
from backend.training.decoder_losses import mesh_loss
from backend.training.surface_sample import gaussian_places, surface_sample
from backend.training.workshop import Workshop

log = logging.getLogger(__name__)
SHIFTS = tuple(np.arange(-1.0, 4.01, 0.5).tolist())
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


# As good as the encoder's guess: what a flow has to beat.
GUESS = _settings(0.03, 2, 0.0)
CANDIDATES = (GUESS, *(_settings(s, 12, g) for s in (0.3, 0.5, 0.7, 1.0) for g in (0.0, 3.0)))


def settings_of(params: dict[str, Any]) -> SamplerSettings:
    """pipeline.json's sampler parameters as the sampler takes them."""
    return replace(SamplerSettings(**params), cfg_interval=tuple(params["cfg_interval"]))


def best_structure(
    workshop: Workshop, cases: Sequence[Case], until: float, candidates: Sequence[dict[str, Any]] = CANDIDATES
) -> tuple[dict[str, Any], float, float]:
    """Sampler parameters, the shift of the occupancy's logits, and their voxel F-score; by time `until`."""
    choices = list(itertools.product(range(len(candidates)), SHIFTS))
    truths: dict[str, np.ndarray] = {}

    def score(case: Case, number: int) -> list[float]:
        if case.scene.name not in truths:
            occupied = occupancy(case.scene, workshop.recipe.structure_resolution)
            truths[case.scene.name] = unit_occupancy(occupied)
        logits = structure_logits(workshop, case, settings_of(candidates[number])).float().cpu().numpy()
        return shift_scores(logits, truths[case.scene.name])

    table = _table(cases, len(candidates), score, until)
    best = int(np.argmax(table))
    number, shift = choices[best]
    return candidates[number], shift, float(table.max())


def best_latent(
    workshop: Workshop, cases: Sequence[Case], until: float, candidates: Sequence[dict[str, Any]] = CANDIDATES
) -> tuple[dict[str, Any], float]:
    """Sampler parameters of the structured latent, and the error of the mesh decoder's distances and
    colours.
    """

    def score(case: Case, number: int) -> list[float]:
        return [-latent_error(workshop, case, settings_of(candidates[number]))]

    table = _table(cases, len(candidates), score, until)
    best = int(np.argmax(table))
    return candidates[best], -float(table.max())


@torch.no_grad()
def structure_logits(workshop: Workshop, case: Case, settings: SamplerSettings, seed: int = _SEED) -> Tensor:
    """Occupancy logits (R, R, R) of a picture."""
    lifted = workshop.lifting(picture_to_pixels(case.picture, workshop.device))
    flow = workshop.structure_flow
    velocity = _velocity(flow, flow, lifted.tokens, settings)
    latent = _sampled(velocity, lifted.structure_start, settings, seed)
    return workshop.structure.decoder(latent)[0, 0]


@torch.no_grad()
def latent_error(workshop: Workshop, case: Case, settings: SamplerSettings, seed: int = _SEED) -> float:
    """How wrong distances (voxels) and colours are that come of a picture on the true structure."""
    recipe, device, flow = workshop.recipe, workshop.device, workshop.latent_flow
    decoders = workshop.latent_autoencoder
    places = gaussian_places(decoders.gaussian_decoder.offset_perturbation, splats_config(recipe))
    coords = np.argwhere(coarse_occupancy(recipe, case.scene)).astype(np.int32)
    sample = surface_sample(recipe, case.scene, coords, np.random.default_rng(seed), places)
    lifted = workshop.lifting(picture_to_pixels(case.picture, device))
    x, y, z = torch.from_numpy(coords).long().to(device).unbind(1)
    structure = flow.structure(torch.stack([x, y, z], dim=1))

    def model(x: Tensor, t: Tensor, context: Any) -> Tensor:
        return flow(x, t, context, structure)

    velocity = _velocity(model, flow, lifted.tokens, settings)
    latents = _sampled(velocity, lifted.latent_start[0, :, x, y, z].T, settings, seed)
    rows = _rows(sample.coords.numpy(), coords)
    chosen = sample.chosen.numpy()
    sample = replace(
        sample,
        coords=sample.coords.to(device),
        distance=sample.distance.to(device),
        colors=sample.colors.to(device),
    )
    latents = workshop.latents.restore(latents)[torch.from_numpy(rows[chosen]).to(device)]
    decoder = decoders.mesh_decoder
    numbers = mesh_loss(decoder, sample.coords[torch.from_numpy(chosen).to(device)], latents, sample)[1]
    return float(numbers["sdf"] + numbers["color"])


def shift_scores(logits: np.ndarray, truth: np.ndarray) -> list[float]:
    """Voxel F-scores in the unit cube of the structures that logits (R, R, R) give at every shift."""
    to_truth = distances(truth)

    def score(shift: float) -> float:
        predicted = unit_occupancy(logits + shift > 0)
        return f_score_of_distances(predicted, distances(predicted), truth, to_truth)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(score, SHIFTS))


def _table(
    cases: Sequence[Case], count: int, score: Callable[[Case, int], list[float]], until: float
) -> np.ndarray:
    """Mean scores of all candidates' variants, flat; −inf for candidates that time did not suffice for.

    Candidates are compared on the same cases, of which there is at least one.
    """
    rows: list[list[list[float]]] = []
    for case in cases:
        row: list[list[float]] = []
        for number in range(count):
            if time.monotonic() > until and (rows or row):
                break
            row.append(score(case, number))
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


def _sampled(velocity: Velocity, guess: Tensor, settings: SamplerSettings, seed: int) -> Tensor:
    noise = torch.randn(guess.shape, generator=torch.Generator().manual_seed(seed)).to(guess.device)
    start = noised(guess, noise, settings.strength, SIGMA_MIN)
    return flow_euler(velocity, start, timesteps(settings.steps, settings.rescale_t, settings.strength))


def _rows(some: np.ndarray, all_coords: np.ndarray) -> np.ndarray:
    """Where the voxels `some` (M, 3) stand among all_coords (L, 3): (M,)."""
    place = {tuple(voxel): row for row, voxel in enumerate(all_coords.tolist())}
    return np.array([place[tuple(voxel)] for voxel in some.tolist()])
