"""What training reports: a CSV file a part, and, where their packages are, TensorBoard's events and a picture
of all losses.
"""

import csv
import importlib.util
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from backend.files import atomic_path

log = logging.getLogger(__name__)
_COLUMNS = 4
_SMOOTHING = 0.95


class TrainingLog:
    """`<folder>/<part>.csv` and `<folder>/tensorboard/<part>`."""

    def __init__(self, folder: Path, part: str):
        self.part = part
        self.path = folder / f"{part}.csv"
        self._events = _event_writer(folder / "tensorboard" / part)

    def drop_after(self, step: int) -> None:
        """Takes out rows that a killed run wrote after its last saved step, and a file that it only began."""
        if not self.path.is_file():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        head, *rows = text.splitlines(keepends=True) or [""]
        if not head.endswith("\n"):
            self.path.unlink()
            return
        numbers = [row.split(",", 1)[0] if row.endswith("\n") else "" for row in rows]
        kept = [
            row
            for row, number in zip(rows, numbers, strict=True)
            if number.isdecimal() and int(number) <= step
        ]
        if len(kept) < len(rows):
            self.path.write_text("".join([head, *kept]), encoding="utf-8")

    def write(self, step: int, seconds: float, numbers: dict[str, float]) -> None:
        """One row."""
        row = {"step": step, "seconds": round(seconds, 1), **{k: round(v, 6) for k, v in numbers.items()}}
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        if self._events is not None:
            for name, value in numbers.items():
                self._events.add_scalar(f"{self.part}/{name}", value, step)
        log.info("%s %s", self.part, " ".join(f"{k}={v:g}" for k, v in row.items()))

    def close(self) -> None:
        """Has everything on the disk."""
        if self._events is not None:
            self._events.close()


def _event_writer(folder: Path) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # heavy, and optional

    return SummaryWriter(str(folder))


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
    coefficients = [1 - _SMOOTHING], [1, -_SMOOTHING]
    return (lfilter(*coefficients, values) / lfilter(*coefficients, np.ones(len(values)))).tolist()
