"""python scripts/finishing_table.py FILE … [--work FOLDER]

Finishes raw meshes with the preset game, measures what came out, and writes the table of docs/finishing.md.
What is measured is kept in --work, so that a run that was stopped goes on. Run by the backend's Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from backend.files import write_bytes  # noqa: E402
from backend.finish import mesh_of  # noqa: E402
from backend.finishing.chain import finish_mesh  # noqa: E402
from backend.finishing.settings import FinishSettings  # noqa: E402
from backend.geometry.mesh_files import load_asset  # noqa: E402
from backend.measures.finish_scores import finish_scores  # noqa: E402
from backend.representations.glb import write_glb  # noqa: E402
from backend.representations.mesh import Mesh  # noqa: E402

PAGE = ROOT / "docs" / "finishing.md"
SCORES = ("precision", "recall", "f_score")


def main() -> int:
    """Measure every file and write the table; the exit code."""
    wanted = argparse.ArgumentParser(prog="finishing_table.py", description="Measure finished meshes.")
    wanted.add_argument("files", nargs="+", type=Path, metavar="FILE", help="raw meshes")
    wanted.add_argument("--work", type=Path, default=ROOT / "out" / "finished", metavar="FOLDER")
    options = wanted.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = [_kept(path, options.work) for path in sorted(options.files, key=lambda path: path.stem)]
    head, begin, rest = PAGE.read_text("utf-8").partition("<!-- finishing: begin -->\n")
    _, end, tail = rest.partition("<!-- finishing: end -->")
    write_bytes(PAGE, (head + begin + _table(rows) + end + tail).encode())
    return 0


def _kept(path: Path, work: Path) -> dict[str, Any]:
    """What was measured of the mesh, now or by a run before."""
    kept = work / f"{path.stem}.json"
    if not kept.exists():
        write_bytes(kept, json.dumps(_measured(path, work)).encode())
    row: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return row


def _measured(path: Path, work: Path) -> dict[str, Any]:
    raw = mesh_of(load_asset(path))
    began = _seconds()
    done, report = finish_mesh(raw, FinishSettings.preset("game"))
    took = _seconds() - began
    write_glb(work / f"{path.stem}.glb", done, sharp=True)
    row = {"name": path.stem, "before": asdict(report.before), "after": asdict(report.after), "seconds": took}
    return row | asdict(finish_scores(_arrays(raw), _arrays(done)))


def _seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices.double().numpy(), mesh.faces.numpy()


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| object | raw faces | parts | faces | handles | precision | recall | F | area seen | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        before, after = row["before"], row["after"]
        handles = "open" if after["genus"] is None else after["genus"]
        cells = [f"{before['faces']:,}", f"{before['components']} → {after['components']}"]
        cells += [f"{after['faces']:,}", str(handles), *(f"{row[name]:.4f}" for name in SCORES)]
        lines.append(_line(row["name"], *cells, f"{row['seen_area']:.2%}", f"{row['seconds']:.1f}"))
    means = [f"{_mean(rows, name):.4f} ({min(row[name] for row in rows):.4f})" for name in SCORES]
    seen = f"{_mean(rows, 'seen_area'):.2%} ({min(row['seen_area'] for row in rows):.2%})"
    lines.append(_line("**mean** (least)", "", "", "", "", *means, seen, f"{_mean(rows, 'seconds'):.1f}"))
    return "\n".join(lines) + "\n"


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
