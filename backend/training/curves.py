"""Loss curves of all parts in one picture, from their CSV files: raw and smoothed, a panel a part."""

import csv
import importlib.util
import math
from pathlib import Path

from backend.files import atomic_path

_COLUMNS = 4
_SMOOTHING = 0.95


def draw_curves(folder: Path) -> bool:
    """Draws `<folder>/curves.png`; False where there is nothing to draw or nothing to draw with."""
    tables = {file.stem: read_losses(file) for file in sorted(folder.glob("*.csv"))}
    tables = {name: table for name, table in tables.items() if table[0]}
    if not tables or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure  # heavy, and optional

    lines = math.ceil(len(tables) / _COLUMNS)
    columns = min(_COLUMNS, len(tables))
    figure = Figure(figsize=(4 * columns, 3 * lines), layout="constrained")
    for place, (name, (steps, losses)) in enumerate(tables.items(), start=1):
        panel = figure.add_subplot(lines, columns, place)
        panel.plot(steps, losses, color="0.8", linewidth=0.8)
        panel.plot(steps, smoothed(losses), color="C0")
        panel.set_title(name)
        panel.set_xlabel("step")
        if min(losses) > 0:
            panel.set_yscale("log")
    with atomic_path(folder / "curves.png") as temporary:
        figure.savefig(temporary, dpi=80)
    return True


def read_losses(path: Path) -> tuple[list[int], list[float]]:
    """Steps and losses of a part's CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file) if row.get("loss")]
    return [step for step, _ in rows], [loss for _, loss in rows]


def smoothed(values: list[float]) -> list[float]:
    """Exponential moving average without a bias at the start."""
    result, total, weight = [], 0.0, 0.0
    for value in values:
        total = _SMOOTHING * total + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + 1 - _SMOOTHING
        result.append(total / weight)
    return result
