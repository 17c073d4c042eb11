"""A model and both baselines on every object of a folder."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from backend.errors import UserError
from backend.evaluation.autoencoder import open_autoencoder
from backend.evaluation.baselines import Retrieval, mean_shape
from backend.evaluation.cases import scored_cases
from backend.evaluation.contact_sheet import object_row
from backend.evaluation.prediction import predict
from backend.evaluation.report import ObjectReport, Report
from backend.evaluation.scores import Scores, Truth, mean_scores, score
from backend.evaluation.sight import evaluate_pictures, over_seeds, sight
from backend.evaluation.training_shapes import TrainingShapes
from backend.geometry.mesh_files import Entry
from backend.machine.memory import peak_memory_bytes
from backend.measures.comparison import surface_scores
from backend.trellis.networks import Networks


@dataclass(frozen=True)
class Settings:
    """views of every object · seed of the random views and the first of `seeds` for sampling · draw the
    sheets' rows.
    """

    views: int = 2
    seed: int = 1
    seeds: int = 1
    draw: bool = False
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """The report, and names and drawn rows (S, 7 S, 3) u8 of the contact sheets, one an object.

    Objects with a trademarked look are scored but not drawn.
    """

    report: Report
    rows: tuple[tuple[str, np.ndarray], ...]


def evaluate(
    pipeline: Networks,
    trained: TrainingShapes,
    settings: Settings,
    entries: Sequence[Entry],
    on_fault: Callable[[str], None],
) -> Outcome:
    """A pipeline's scores and both baselines' of every entry.

    One that cannot be read or drawn is reported and left out. Raises UserError where none is left.
    """
    autoencoder = open_autoencoder(pipeline)
    retrieval = Retrieval(trained.shapes, settings.threads)
    mean = mean_shape(trained.mean_occupied)
    objects: list[ObjectReport] = []
    rows: list[tuple[str, np.ndarray]] = []
    for entry in tqdm(entries, desc="objects", file=sys.stderr):
        try:
            cases = scored_cases(entry, settings.views, settings.seed)
        except UserError as error:
            on_fault(f"{entry.name}: {error}")
            continue
        if not objects:
            predict(pipeline, cases[0], settings.seed)  # so that all times are warm ones
        views: list[dict[str, Scores]] = []
        for case in cases:
            truth, seeds = Truth(case.scene), range(settings.seed, settings.seed + settings.seeds)
            made = [predict(pipeline, case, seed) for seed in seeds]
            found = [score(one, truth) | sight(one, case.picture, case.scene.view) for one in made]
            if settings.draw and not views and not entry.brand:
                row = object_row(case.picture, truth.mesh, made[0].mesh, made[0].gaussians)
                rows.append((entry.name, row))
            scores = {
                **(over_seeds(found, made) if settings.seeds > 1 else {"starter": found[0]}),
                "retrieval": score(retrieval.nearest(case.cutout), truth),
                "mean_shape": score(mean, truth),
            }
            if autoencoder is not None:
                scores["autoencoder"] = {**surface_scores(autoencoder.mesh(case.scene), truth.mesh)}
            views.append(scores)
        means = {method: mean_scores([one[method] for one in views]) for method in views[0]}
        objects.append(ObjectReport(entry.name, means))
    if not objects:
        raise UserError("No object of the folder could be scored; give meshes that can be read.")
    report = _report(pipeline, settings, objects)
    report = replace(
        report, views=settings.views, training_shapes=len(trained.shapes), training_views=len(retrieval)
    )
    return Outcome(report, tuple(rows))


def sighted(pipeline: Networks, settings: Settings, folder: Path, on_fault: Callable[[str], None]) -> Outcome:
    """What can be told of what a pipeline makes of pictures whose objects nobody knows."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    results = evaluate_pictures(pipeline, folder, seeds, on_fault)
    return Outcome(_report(pipeline, settings, [ObjectReport(*one) for one in results]), ())


def _report(pipeline: Networks, settings: Settings, objects: Sequence[ObjectReport]) -> Report:
    return Report(
        model=pipeline.folder.name,
        device=str(pipeline.device),
        precision=str(pipeline.dtype).removeprefix("torch."),
        peak_memory_bytes=peak_memory_bytes(),
        objects=tuple(objects),
        seeds=settings.seeds,
    )
