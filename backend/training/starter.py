"""The starter model from a folder of objects, end to end: train every part, calibrate, export, measure,
draw.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from backend.evaluation.cases import Case, front_case, held_out_case
from backend.evaluation.contact_sheet import contact_sheet
from backend.evaluation.reconstruct import Reconstruction, reconstruct
from backend.evaluation.surface_scores import surface_scores
from backend.files import atomic_path
from backend.pipeline import Pipeline
from backend.sampling import SamplerSettings
from backend.training.assets import spread_over_families
from backend.training.calibrate import best_shift
from backend.training.export import export
from backend.training.workshop import PARTS, Workshop

log = logging.getLogger(__name__)

SHOWN = 10  # objects of the contact sheet, which are also those of the score
CALIBRATION = 24
# The flows of a CPU budget are far behind the encoder that warms them: they start from its guess, all but
# clean.
# A model trained on a GPU wants more steps, strength 1 and guidance.
_SHORT = {"steps": 2, "cfg_strength": 0.0, "cfg_interval": [0.5, 1.0], "rescale_t": 1.0, "strength": 0.03}
SAMPLING = {"sparse_structure_sampler": _SHORT, "slat_sampler": _SHORT}


def train_all(workshop: Workshop, parts: tuple[str, ...] = PARTS, minutes: float | None = None) -> None:
    """Trains the parts in order. `minutes` for all of them together is shared out as the recipe's minutes
    are.
    """
    budgets = {name: workshop.recipe.loops[name].minutes for name in parts}
    scale = 1.0 if minutes is None else minutes / sum(budgets.values())
    for name in parts:
        workshop.train(name, budgets[name] * scale)


def settings_of(params: dict) -> SamplerSettings:
    """pipeline.json's sampler parameters as the sampler takes them."""
    return replace(SamplerSettings(**params), cfg_interval=tuple(params["cfg_interval"]))


def export_calibrated(workshop: Workshop, folder: Path, sampling: dict[str, dict] = SAMPLING) -> float:
    """Finds the occupancy's cut on held-out views and writes the model folder; returns the cut's F-score."""
    entries = spread_over_families(workshop.source.entries, CALIBRATION, skip=SHOWN)
    cases = [held_out_case(entry) for entry in entries]
    shift, scores = best_shift(workshop, cases, settings_of(sampling["sparse_structure_sampler"]))
    log.info("occupancy shift %.2f: voxel F-score@0.05 %.3f", shift, scores[shift])
    export(workshop, folder, sampling, shift)
    return scores[shift]


def evaluate_folder(
    folder: Path, cases: list[Case], seed: int = 1
) -> tuple[list[Reconstruction], list[dict[str, float]]]:
    """Every case through the pipeline: results and scores of the final mesh."""
    pipeline = Pipeline.open(folder, torch.device("cpu"), torch.float32)
    results, scores = [], []
    for case in cases:
        result = reconstruct(pipeline, case.picture, seed)
        mesh = result.mesh
        score = surface_scores(
            mesh.vertices.numpy(), mesh.faces.numpy(), case.scene.vertices, case.scene.faces
        )
        scores.append({**score, "seconds": result.seconds})
        results.append(result)
        log.info("%s %s", case.scene.name, {k: round(v, 3) for k, v in score.items()})
    return results, scores


def first_light(workshop: Workshop, folder: Path, sheet: Path, report: Path) -> dict[str, float]:
    """Scores and a contact sheet of ten objects from directions training never saw; returns the mean
    scores.
    """
    cases = [front_case(entry) for entry in spread_over_families(workshop.source.entries, SHOWN)]
    results, scores = evaluate_folder(folder, cases)
    mean = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
    names = [case.scene.name for case in cases]
    with atomic_path(sheet) as temporary:
        contact_sheet([case.picture for case in cases], results, size=144).save(temporary)
    with atomic_path(report) as temporary:
        objects = dict(zip(names, scores, strict=True))
        temporary.write_text(json.dumps({"mean": mean, "objects": objects}, indent=1) + "\n")
    return mean
