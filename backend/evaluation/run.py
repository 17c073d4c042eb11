"""A model and both baselines on every object of a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from backend.errors import UserError
from backend.evaluation.autoencoder import Autoencoder, open_autoencoder
from backend.evaluation.baselines import Retrieval, mean_shape
from backend.evaluation.cases import Case, scored_cases
from backend.evaluation.contact_sheet import object_row
from backend.evaluation.prediction import Prediction, predict
from backend.evaluation.report import ObjectReport, Report
from backend.evaluation.scores import Scores, Truth, mean_scores, score, surface_part
from backend.evaluation.training_shapes import TrainingShapes
from backend.geometry.mesh_files import Entry
from backend.memory import peak_memory_bytes
from backend.trellis.pipeline import Pipeline

OnFault = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """views of every object · seed of the sampling and of the random views · draw the sheets' rows."""

    views: int = 2
    seed: int = 1
    draw: bool = False
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """The report, and names and drawn rows (S, 7 S, 3) u8 of the contact sheets, one an object.

    Objects with a trademarked look are scored but not drawn.
    """

    report: Report
    rows: tuple[tuple[str, np.ndarray], ...]


class Evaluation:
    """A pipeline with both baselines, ready to be measured."""

    def __init__(self, pipeline: Pipeline, trained: TrainingShapes, settings: Settings) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._shapes = len(trained.shapes)
        self._autoencoder: Autoencoder | None = open_autoencoder(pipeline)
        self._retrieval = Retrieval(trained.shapes, settings.threads)
        self._mean_shape: Prediction = mean_shape(trained.mean_occupied)

    def run(self, entries: Sequence[Entry], on_fault: OnFault) -> Outcome:
        """Scores every entry; one that cannot be read or drawn is reported and left out.

        Raises UserError where none is left.
        """
        objects: list[ObjectReport] = []
        rows: list[tuple[str, np.ndarray]] = []
        for entry in tqdm(entries, desc="objects", file=sys.stderr):
            try:
                cases = scored_cases(entry, self._settings.views, self._settings.seed)
            except UserError as error:
                on_fault(f"{entry.name}: {error}")
                continue
            if not objects:
                predict(self._pipeline, cases[0], self._settings.seed)  # so that all times are warm ones
            scores = []
            for view, case in enumerate(cases):
                made, row = self._case(case, draw=self._settings.draw and view == 0 and not entry.brand)
                scores.append(made)
                if row is not None:
                    rows.append((entry.name, row))
            objects.append(ObjectReport(entry.name, _means(scores)))
        if not objects:
            raise UserError("No object of the folder could be scored; give meshes that can be read.")
        return Outcome(self._report(tuple(objects)), tuple(rows))

    def _case(self, case: Case, draw: bool) -> tuple[dict[str, Scores], np.ndarray | None]:
        truth = Truth(case.scene)
        prediction = predict(self._pipeline, case, self._settings.seed)
        scores = {
            "starter": score(prediction, truth),
            "retrieval": score(self._retrieval.nearest(case.cutout), truth),
            "mean_shape": score(self._mean_shape, truth),
        }
        if self._autoencoder is not None:
            scores["autoencoder"] = surface_part(self._autoencoder.mesh(case.scene), truth)
        if not draw:
            return scores, None
        return scores, object_row(case.picture, truth.mesh, prediction.mesh, prediction.gaussians)

    def _report(self, objects: tuple[ObjectReport, ...]) -> Report:
        return Report(
            model=self._pipeline.folder.name,
            views=self._settings.views,
            training_shapes=self._shapes,
            training_views=len(self._retrieval),
            device=str(self._pipeline.device),
            precision=str(self._pipeline.dtype).removeprefix("torch."),
            peak_memory_bytes=peak_memory_bytes(),
            objects=objects,
        )


def _means(scores: Sequence[dict[str, Scores]]) -> dict[str, Scores]:
    return {method: mean_scores([one[method] for one in scores]) for method in scores[0]}
