"""What a part reports while it is trained: rows of a CSV file, and TensorBoard's events if that is there."""

import csv
import importlib.util
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class TrainingLog:
    """`<folder>/<part>.csv` and `<folder>/tensorboard/<part>`."""

    def __init__(self, folder: Path, part: str):
        self.part = part
        self.path = folder / f"{part}.csv"
        self._events = _event_writer(folder / "tensorboard" / part)

    def drop_after(self, step: int) -> None:
        """Takes out rows that a killed run wrote after its last saved step."""
        if not self.path.is_file():
            return
        head, *rows = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and int(row.split(",", 1)[0]) <= step]
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
        log.info("TensorBoard is not installed; the numbers go to the CSV files alone.")
        return None
    from torch.utils.tensorboard import SummaryWriter  # heavy, and optional

    return SummaryWriter(str(folder))
