"""The starter model from a folder of objects, end to end within a given time: prepare, train every part,
calibrate, export, measure, pack. Any of it may be cut off by the end of a piece and goes on in the next.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from backend.evaluation.cases import front_case, held_out_case
from backend.evaluation.contact_sheet import contact_sheet, object_row
from backend.evaluation.prediction import predict
from backend.evaluation.surface_scores import surface_scores
from backend.files import atomic_path
from backend.geometry.mesh_files import Asset, spread_over_families
from backend.training.calibrate import GUESS, best_latent, best_structure
from backend.training.curves import at_most_every, draw_curves
from backend.training.export import export, export_networks
from backend.training.starter.clock import Clock
from backend.training.starter.packing import pack
from backend.training.starter.run import PARTS, Workshop
from backend.training.state import read_counters
from backend.trellis.pipeline import Pipeline

log = logging.getLogger(__name__)

SHOWN = 10  # objects of the contact sheet, which are also those of the score
CALIBRATION = 24
SAMPLING = {"sparse_structure_sampler": GUESS, "slat_sampler": GUESS}
_CURVE_SECONDS = 60.0
_YOUNG = 0.25  # voxel score below which structures fill the cube, and measuring them would take very long
_AUTOENCODERS = ("structure_autoencoder", "latent_autoencoder")


@dataclass(frozen=True)
class Finish:
    """Where a training's results go: the model folder and the few files to carry away."""

    model: Path
    out: Path


def train_parts(workshop: Workshop, clock: Clock, parts: tuple[str, ...] = PARTS) -> bool:
    """Trains the parts in order until all are done (True) or the piece ends.

    Each gets its share of what is really left when its turn comes, so that the whole ends on time.
    """
    done = finished_parts(workshop.folder)
    on_save = _saver(workshop, clock)
    left_out = workshop.recipe.finish_share * clock.total
    for place, name in enumerate(parts):
        if name in done:
            continue
        (late,) = workshop.world.agree(float(time.monotonic() > clock.training_end))
        if late:
            return False
        shares = [workshop.recipe.loops[other].minutes for other in parts[place:] if other not in done]
        spent = seconds_spent(workshop.folder, name)
        (seconds,) = workshop.world.agree((max(0.0, clock.left - left_out) + spent) * shares[0] / sum(shares))
        log.info("%s gets %.0f s in all", name, seconds)
        trainer = workshop.train(name, max(seconds, 1e-3) / 60, clock.training_end, on_save)
        if not trainer.finished:
            return False
        done = [*done, name]
        if workshop.world.leads:
            _write(workshop.folder / "finished.json", done)
            clock.save()
        workshop.world.wait()
    return True


def finished_parts(folder: Path) -> list[str]:
    """Parts that are trained to their end."""
    path = folder / "finished.json"
    return json.loads(path.read_text()) if path.is_file() else []


def seconds_spent(folder: Path, name: str) -> float:
    """What a part that was stopped has been trained so far."""
    return float(read_counters(folder / f"{name}.safetensors").get("seconds", 0.0))


def export_calibrated(workshop: Workshop, folder: Path, until: float = math.inf) -> dict[str, float]:
    """Finds the samplers and the occupancy's cut on held-out views and writes the model folder."""
    entries = spread_over_families(workshop.source.entries, CALIBRATION, skip=SHOWN)
    entries = entries or workshop.source.entries[:1]
    cases = [held_out_case(entry) for entry in entries]
    middle = time.monotonic() + 0.7 * (until - time.monotonic()) if math.isfinite(until) else until
    structure, shift, score = best_structure(workshop, cases, middle)
    latent, mesh_score = best_latent(workshop, cases, structure, shift, until)
    log.info("structure: %s, shift %.2f, voxel score %.3f", structure, shift, score)
    log.info("structured latent: %s, mesh score %.3f", latent, mesh_score)
    export(workshop, folder, {"sparse_structure_sampler": structure, "slat_sampler": latent}, shift)
    return {"voxel_score": score, "shift": shift, "mesh_score": mesh_score}


def measure(
    folder: Path, workshop: Workshop, sheet: Path, until: float = math.inf
) -> dict[str, dict[str, float]]:
    """Scores of some objects from directions training never saw, and a contact sheet; at least one object."""
    pipeline = Pipeline.open(folder, workshop.device, torch.float32)
    scores: dict[str, dict[str, float]] = {}
    rows = []
    for entry in spread_over_families(workshop.source.entries, SHOWN) or workshop.source.entries[:1]:
        case = front_case(entry)
        result = predict(pipeline, case, seed=1)
        scene = case.scene
        truth = Asset(scene.vertices, scene.faces, scene.corner_colors, scene.smooth)
        score = surface_scores(result.mesh.vertices, result.mesh.faces, truth.vertices, truth.faces)
        scores[entry.name] = {**score, "seconds": result.seconds or 0.0}
        rows.append(object_row(case.picture, truth, result.mesh, result.gaussians))
        log.info("%s %s", entry.name, {k: round(v, 3) for k, v in scores[entry.name].items()})
        if time.monotonic() > until:
            break
    with atomic_path(sheet) as temporary:
        contact_sheet(rows).save(temporary)
    return scores


def finish(workshop: Workshop, clock: Clock, place: Finish) -> dict[str, float]:
    """Calibrates, exports, packs and measures within what is left; returns the mean scores, if any."""
    left = max(clock.left, 0.1 * workshop.recipe.finish_share * clock.total)
    end = min(time.monotonic() + left, clock.piece_end - 5)
    left = max(0.0, end - time.monotonic())
    calibration = export_calibrated(workshop, place.model, time.monotonic() + 0.55 * left)
    pack(place.model, place.out)  # before anything else may go wrong
    scores: dict[str, dict[str, float]] = {}
    if calibration["voxel_score"] >= _YOUNG:
        scores = measure(place.model, workshop, place.out / "contact_sheet.png", end - 0.1 * left)
    else:
        log.warning("The model is too young to be measured; train it for longer.")
    draw_curves(workshop.folder, place.out / "curves.png")
    keys = next(iter(scores.values()), {})
    mean = {key: float(np.mean([score[key] for score in scores.values()])) for key in keys}
    report = {"mean": mean, "calibration": calibration, "minutes": clock.used / 60, "objects": scores}
    _write(place.out / "report.json", report)
    clock.save()
    return mean


def pack_unfinished(workshop: Workshop, place: Finish) -> None:
    """Packs the networks that are there so far, so that nothing is lost with this machine."""
    trained = [name for name in PARTS if (workshop.folder / f"{name}.safetensors").is_file()]
    done = finished_parts(workshop.folder)
    # Statistics are measured on finished autoencoders only.
    trained = [name for name in trained if name in done or name not in _AUTOENCODERS]
    if trained:
        export_networks(workshop, place.model, trained)
        pack(place.model, place.out)
    draw_curves(workshop.folder, place.out / "curves.png")


def _saver(workshop: Workshop, clock: Clock) -> Callable[[], None]:
    curves = at_most_every(
        _CURVE_SECONDS, lambda: draw_curves(workshop.folder, workshop.folder / "curves.png")
    )

    def save() -> None:
        clock.save()
        curves()

    return save


def _write(path: Path, content: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
