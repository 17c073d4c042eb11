"""`python -m backend finish`: mesh files, closed, cleared and within a budget of faces, as .glb."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backend.errors import UserError
from backend.files import check_target, make_writable_folder
from backend.finishing.chain import finish_mesh
from backend.finishing.report import FinishReport, MeshFacts, StepReport
from backend.finishing.settings import PRESETS, FinishSettings
from backend.generate import explain
from backend.geometry.mesh_files import Asset, load_with_parts
from backend.measures.finish_scores import FinishScores, finish_scores
from backend.representations.glb import write_glb
from backend.representations.mesh import Mesh
from blender_trellis.batch.plan import distinct_name

log = logging.getLogger(__name__)
DEFAULT = "film"
_ALIKE = 16  # of 255, in each channel


def main(argv: Sequence[str]) -> int:
    """0 when every mesh was finished, 1 when some were, 2 when none was."""
    options = _parser().parse_args(argv)
    reports: dict[str, dict[str, Any]] = {}
    lines: list[str] = []
    taken: set[str] = set()
    failed = False
    try:
        settings = settings_of(options)
        make_writable_folder(options.output)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for path in options.mesh:
        try:
            target = options.output / f"{distinct_name(f'{path.stem}_finished', taken)}.glb"
            report, scores = _finish(path, target, settings, options.scores)
            name = path.name if path.name not in reports else str(path)
            reports[name] = asdict(report) | ({} if scores is None else {"scores": asdict(scores)})
            said = words(report) + ("" if scores is None else _scores(scores))
            lines.append(f"{path} → {target.name}\n{said}")
        except Exception as error:  # noqa: BLE001 (whatever is wrong with one, the others follow)
            failed = True
            sys.stderr.write(f"{explain(error)}\n")
        except KeyboardInterrupt:  # what is done is told of
            failed = True
            sys.stderr.write("Interrupted.\n")
            break
    if options.json:
        sys.stdout.write(json.dumps(reports) + "\n")
    else:
        sys.stdout.write("".join(lines))
    return (1 if reports else 2) if failed else 0


def settings_of(options: argparse.Namespace) -> FinishSettings:
    """A preset, with the numbers that were named besides; UserError for one out of its range."""
    named = {name: getattr(options, name) for name in (*_NUMBERS, *_SWITCHES)}
    named = {name: value for name, value in named.items() if value is not None}
    return replace(FinishSettings.preset(options.preset), **named)


def words(report: FinishReport) -> str:
    """The report as a few lines for people."""
    lines = (f"before: {_facts(report.before)}", *report.lines(), f"after: {_facts(report.after)}")
    return "".join(f"  {line}\n" for line in lines)


def mesh_of(asset: Asset) -> Mesh:
    """The asset with one vertex for each place, which has the mean colour there, and the colours of corners
    if these have borders; what is much alike at a place counts as one, as on both sides of a texture's seam.
    """
    corners = asset.vertices[asset.faces].reshape(-1, 3).astype(np.float32) + np.float32(0)  # −0 becomes 0
    colors = asset.corner_colors.reshape(-1, 3)
    first, place = _numbers(corners.view(np.uint32))
    darkest, lightest = np.full((2, len(first), 3), [[[255]], [[0]]], np.uint8)
    np.minimum.at(darkest, place, colors)
    np.maximum.at(lightest, place, colors)
    differ = (lightest - darkest).max(axis=1)[place] > _ALIKE
    uses = np.bincount(place)
    means = np.stack([np.bincount(place, channel) / (255 * uses) for channel in colors.T], axis=1)
    shown = np.where(differ[:, None], colors / 255, means[place]).reshape(-1, 3, 3)
    return Mesh(
        torch.from_numpy(corners[first]),
        torch.from_numpy(place.reshape(-1, 3).astype(np.int64)),
        torch.from_numpy(means.astype(np.float32)),
        corner_colors=torch.from_numpy(shown.astype(np.float32)) if differ.any() else None,
    )


def _numbers(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows (N, C) u32 the first one of each kind (K,), and the number (N,) of each row's kind."""
    whole = np.ascontiguousarray(rows).view([("", np.uint32)] * rows.shape[1]).ravel()
    _, first, number = np.unique(whole, return_index=True, return_inverse=True)
    return first, number


_NUMBERS = {"faces": int, "crumbs": float, "gap": float, "resolution": int}
_SWITCHES = {
    "whole": "draw the outer surface again where it leaks",
    "outside": "remove what no view from outside reaches",
    "watertight": "close every edge in the end",
}


def _parser() -> argparse.ArgumentParser:
    wanted = argparse.ArgumentParser(prog="python -m backend finish", description=__doc__)
    wanted.add_argument("mesh", nargs="+", type=Path, help="a .glb, .gltf, .ply, .obj or .stl file")
    wanted.add_argument("--output", type=Path, required=True, help="folder for the results")
    wanted.add_argument("--preset", default=DEFAULT, choices=PRESETS, help=f"default: {DEFAULT}")
    wanted.add_argument(
        "--faces", type=int, help="at most so many faces; 0 keeps all (default: the preset's)"
    )
    wanted.add_argument(
        "--crumbs",
        type=float,
        help=f"parts below this share of the largest go (default: {FinishSettings.crumbs}; raw: 0)",
    )
    wanted.add_argument(
        "--gap",
        type=float,
        help=f"openings up to twice as many cubes wide are closed (default: {FinishSettings.gap:g})",
    )
    wanted.add_argument(
        "--resolution",
        type=int,
        help=f"cubes along the longest side of the new surface (default: {FinishSettings.resolution})",
    )
    for name, words in _SWITCHES.items():
        wanted.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=words)
    wanted.add_argument(
        "--scores", action="store_true", help="measure how the outer surface was kept, and what of it is seen"
    )
    wanted.add_argument("--json", action="store_true", help="print the reports as JSON")
    return wanted


def _finish(
    path: Path, target: Path, settings: FinishSettings, scored: bool
) -> tuple[FinishReport, FinishScores | None]:
    check_target(target)
    asset, parts = load_with_parts(path)
    own = raw = mesh_of(asset)
    if settings.faces and any(part.textured for part in parts):
        # Vertices hold all colours of the result, and within a budget there may be as many as that takes.
        asset, _ = load_with_parts(path, split=True, parts=parts)
        raw = mesh_of(asset)
    mesh, report = finish_mesh(raw, settings)
    if len(raw.faces) > len(own.faces):
        split = StepReport("colors", len(own.faces), len(raw.faces), "split for what its texture shows")
        before = finish_mesh(own, FinishSettings.preset("raw"))[1].before
        report = replace(report, before=before, steps=(split, *report.steps))
    write_glb(target, mesh, sharp=True, place=asset.origin)
    return report, finish_scores(_arrays(raw), _arrays(mesh)) if scored else None


def _arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices.double().numpy(), mesh.faces.numpy()


def _scores(scores: FinishScores) -> str:
    text = f"  scores: F-score at 0.02 {scores.f_score:.4f} (precision {scores.precision:.4f}, recall "
    text += f"{scores.recall:.4f}), seen from outside {scores.seen_faces:.2%} of the faces, "
    return f"{text}{scores.seen_area:.2%} of the area\n"


def _facts(facts: MeshFacts) -> str:
    text = f"{facts.faces} faces, {facts.components} parts, {facts.open_edges} open edges, "
    text += f"{facts.non_manifold_edges} edges that are not manifold"
    return text if facts.volume is None else f"{text}, genus {facts.genus}, volume {facts.volume:.4g}"
