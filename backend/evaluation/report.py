"""Scores as an aligned table for people, one JSON object for programs, and a table for the documentation."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backend.errors import UserError
from backend.evaluation.contact_sheet import Sheet
from backend.evaluation.scores import KEYS, Scores, mean_scores
from backend.evaluation.sight import SIGHT_KEYS
from backend.files import atomic_path

METHODS = {
    "starter": "model",
    "best": "best of its seeds",
    "spread": "spread over its seeds",
    "retrieval": "retrieval",
    "mean_shape": "mean shape",
    "autoencoder": "autoencoder",
}
BEGIN, END = "<!-- scores: begin -->", "<!-- scores: end -->"
_HEADS = ("IoU", "voxel F@.05", "Chamfer", "F@.05", "F@.02", "PSNR", "SSIM", "seconds")
# Keys and heads of both tables: against the truth, and by sight alone.
_TABLES = (
    (KEYS, _HEADS),
    (SIGHT_KEYS, ("structure", "Gaussians", "mesh", "colour error", "parts", "genus", "seen")),
)
_DIGITS = {"chamfer": 4, "psnr": 1, "seconds": 1, "parts": 0, "genus": 0}


@dataclass(frozen=True)
class ObjectReport:
    """One object's scores by method, each the mean over its views."""

    name: str
    scores: dict[str, Scores]


@dataclass(frozen=True)
class Report:
    """All objects, and under which circumstances they were made."""

    model: str
    device: str
    precision: str
    peak_memory_bytes: int
    objects: tuple[ObjectReport, ...]
    seeds: int = 1
    views: int = 1
    training_shapes: int = 0
    training_views: int = 0

    @cached_property
    def mean(self) -> dict[str, Scores | None]:
        """The mean over the objects by method; None for an autoencoder that the model does not have."""
        methods = self.objects[0].scores
        return {
            name: mean_scores([one.scores[name] for one in self.objects]) if name in methods else None
            for name in METHODS
        }

    @property
    def json(self) -> str:
        """One line."""
        objects = [{"name": one.name, **one.scores} for one in self.objects]
        return json.dumps({"mean": self.mean, "objects": objects})

    @property
    def text(self) -> str:
        """A header, every object's scores of the model, and the means of all methods."""
        width = max(len("mean, autoencoder"), *(len(one.name) for one in self.objects))
        lines = [self._header()]
        for keys, heads in self._tables():
            lines.append(_line("", heads, width))
            lines += [_line(one.name, _cells(one.scores["starter"], keys), width) for one in self.objects]
            lines += [
                _line(f"mean, {name}", _cells(scores, keys), width) for name, scores in self._means(keys)
            ]
        return "\n".join(lines) + "\n"

    @property
    def markdown(self) -> str:
        """The means, then F-scores and IoU of every object and method, as the documentation shows them."""
        tables = [
            [
                *_table(heads, [(f"**{name}**", _cells(scores, keys)) for name, scores in self._means(keys)]),
                "",
            ]
            for keys, heads in self._tables()
        ]
        keys = [(method, key) for method in METHODS if self.mean[method] for key in ("iou", "fscore_005")]
        keys = [(method, key) for method, key in keys if key in self.objects[0].scores[method]]
        heads = [f"{METHODS[method]} {_HEADS[KEYS.index(key)]}" for method, key in keys]
        rows = [
            (one.name, [_number(key, one.scores[method][key]) for method, key in keys])
            for one in self.objects
        ]
        return "\n".join([self._header(), "", *sum(tables, []), *_table(heads, rows)]) + "\n"

    def _header(self) -> str:
        seconds = _number("seconds", mean_scores([one.scores["starter"] for one in self.objects])["seconds"])
        what = f"{len(self.objects)} objects, {self.views} views each"
        if not self.training_shapes:
            what = f"{len(self.objects)} pictures"
        baselines = f"{self.training_shapes} training shapes, {self.training_views} views of them"
        return (
            f"{Path(self.model).name} on {self.device} in {self.precision}: {what}, seeds: {self.seeds}, "
            f"{seconds} s a picture (warm), peak memory {self.peak_memory_bytes / 2**30:.1f} GiB"
        ) + (f"; baselines from {baselines}" if self.training_shapes else "")

    def _tables(self) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Keys and heads of the tables that the model has scores for."""
        return [(keys, heads) for keys, heads in _TABLES if keys[0] in self.objects[0].scores["starter"]]

    def _means(self, keys: Sequence[str]) -> list[tuple[str, Scores]]:
        """Names of the methods that have such scores, and their means."""
        return [(METHODS[n], s) for n, s in self.mean.items() if s is not None and s.keys() & {*keys}]


def around_report(path: Path) -> tuple[str, str]:
    """What a document has before and behind its markers; UserError where it has none."""
    if not path.is_file():
        raise UserError(f"There is no document {path}; give one with the lines {BEGIN} and {END}.")
    head, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise UserError(f"The document {path} lacks the lines {BEGIN} and {END}; add them.")
    return head, tail


def write_markdown(report: Report, sheets: Sequence[Sheet], path: Path) -> None:
    """Puts report and sheets between the markers of a document; UserError where it has none."""
    head, tail = around_report(path)
    with atomic_path(path) as temporary:
        pages = "".join(_page(sheet, path.parent) for sheet in sheets)
        content = f"{head}{BEGIN}\n{report.markdown}{pages}{END}{tail}"
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")


def _page(sheet: Sheet, folder: Path) -> str:
    """The picture and what is on it."""
    link = Path(os.path.relpath(sheet.path.resolve(), folder.resolve())).as_posix()
    return f"\n![{len(sheet.names)} objects]({link})\n\n{', '.join(sheet.names)}\n"


def _cells(scores: Scores, keys: Sequence[str]) -> list[str]:
    """One cell a key; a method that has only a mesh leaves the others empty."""
    return [_number(key, scores.get(key)) for key in keys]


def _number(key: str, value: float | None) -> str:
    return "–" if value is None else f"{value:.{_DIGITS.get(key, 3)}f}"


def _line(name: str, cells: Sequence[str], width: int) -> str:
    return f"{name:<{width}}" + "".join(f"{cell:>13}" for cell in cells)


def _table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    return [
        "| | " + " | ".join(heads) + " |",
        "|---|" + "---:|" * len(heads),
        *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows),
    ]
