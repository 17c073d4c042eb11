"""The end of the starter's training: choose how it is sampled, write its folder, and measure it."""

import copy
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backend.evaluation.cases import front_case, held_out_case
from backend.evaluation.contact_sheet import contact_sheet, object_row
from backend.evaluation.prediction import predict
from backend.files import atomic_path
from backend.geometry.mesh_files import spread_over_families
from backend.measures.comparison import surface_scores
from backend.sampling import SamplerSettings
from backend.training.calibrate import SAMPLING, best_sampler, best_shift
from backend.training.export import TEXTS, pipeline_settings, write_folder
from backend.training.run import write_json
from backend.training.starter.networks import IMAGE_ENCODER, MODELS, NETWORKS
from backend.training.starter.run import StarterRun
from backend.trellis.networks import Networks

log = logging.getLogger(__name__)

SHOWN = 10  # objects of the contact sheet, which are also those of the score
CALIBRATION = 24
PRETRAINED_LICENSE = "LICENSE-EfficientNet-Lite0"
_MEASURABLE = 0.25  # voxel score below which structures fill the cube, and measuring takes very long


def finish(run: StarterRun, model: Path, out: Path, until: float) -> dict[str, float]:
    """Calibrates, writes the model folder and measures it by time `until`; returns the mean scores, if any.

    `out` gets report.json and contact_sheet.png.
    """
    left = max(0.0, until - time.monotonic())
    calibration = export_calibrated(run, model, time.monotonic() + 0.55 * left)
    scores: dict[str, dict[str, float]] = {}
    if calibration["voxel_score"] >= _MEASURABLE:
        scores = measure(model, run, out / "contact_sheet.png", until - 0.1 * left)
    else:
        log.warning("The model has learned too little to be measured; train it for longer.")
    keys = next(iter(scores.values()), {})
    mean = {key: float(np.mean([score[key] for score in scores.values()])) for key in keys}
    write_json(out / "report.json", {"mean": mean, "calibration": calibration, "objects": scores})
    return mean


def export_calibrated(run: StarterRun, folder: Path, until: float = math.inf) -> dict[str, float]:
    """Finds the occupancy's threshold and the first stage's sampler on held-out views, by time `until`, and
    writes the model folder.
    """
    entries = spread_over_families(run.source.entries, CALIBRATION, skip=SHOWN) or run.source.entries[:1]
    cases = [held_out_case(entry) for entry in entries]
    export(run, folder, SAMPLING, 0.0)
    shift = best_shift(
        Networks.open(folder, run.device, torch.float32), cases, (time.monotonic() + until) / 2
    )
    export(run, folder, SAMPLING, shift)
    sampler, score = best_sampler(Networks.open(folder, run.device, torch.float32), cases, until)
    log.info("structure: %s, shift %.2f, voxel score %.3f", sampler, shift, score)
    export(run, folder, SAMPLING | {"sparse_structure_sampler": sampler}, shift)
    return {"voxel_score": score, "shift": shift}


def measure(folder: Path, run: StarterRun, sheet: Path, until: float) -> dict[str, dict[str, float]]:
    """Scores of some objects from directions training never saw, and a contact sheet; at least one object."""
    pipeline = Networks.open(folder, run.device, torch.float32)
    scores: dict[str, dict[str, float]] = {}
    rows = []
    for entry in spread_over_families(run.source.entries, SHOWN) or run.source.entries[:1]:
        case = front_case(entry)
        result = predict(pipeline, case, seed=1)
        truth = case.scene.mesh
        scores[entry.name] = {**surface_scores(result.mesh, truth), "seconds": result.seconds or 0.0}
        rows.append(object_row(case.picture, truth, result.mesh, result.gaussians))
        log.info("%s %s", entry.name, {k: round(v, 3) for k, v in scores[entry.name].items()})
        if time.monotonic() > until:
            break
    with atomic_path(sheet) as temporary:
        contact_sheet(rows).save(temporary)
    return scores


@torch.no_grad()
def export(
    run: StarterRun, folder: Path, sampling: Mapping[str, SamplerSettings], occupancy_shift: float
) -> None:
    """Writes the folder. `sampling` holds the settings of "sparse_structure_sampler" and "slat_sampler".

    `occupancy_shift` is added to the structure decoder's logits, so that the published rule, occupied where
    the logit is above 0, is the best one.
    """
    trained = {
        "structure_autoencoder": run.structure,
        "latent_autoencoder": run.latent_autoencoder,
        "lifting": run.lifting,
        "structure_flow": run.structure_flow,
        "latent_flow": run.latent_flow,
        "mesh_decoder": run.mesh_decoder,
        "gaussian_decoder": run.gaussian_decoder,
    }
    networks: dict[str, Any] = {
        path: trained[part].get_submodule(attribute)
        for part, table in NETWORKS.items()
        for attribute, path in table.items()
    }
    decoder = copy.deepcopy(run.structure.decoder)
    decoder.out_layer[-1].bias.add_(occupancy_shift)
    networks[MODELS["sparse_structure_decoder"]] = decoder
    normalization = run.latents.mean.tolist(), run.latents.std.tolist()
    condition = {"image_cond_model": IMAGE_ENCODER}
    pipeline = pipeline_settings("TrellisImageTo3DPipeline", MODELS, sampling, normalization, condition)
    names = {"LICENSE": "LICENSE-starter", PRETRAINED_LICENSE: PRETRAINED_LICENSE}
    texts = {name: (TEXTS / text).read_text(encoding="utf-8") for name, text in names.items()}
    write_folder(folder, networks, pipeline, run.source.entries, "README.md", texts)
