"""Runs `python -m backend models` and follows its lines. No bpy here."""

import json
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..catalogue.installed import ARRIVING, HALF_COPIED
from ..faults import Fault
from ..process.background_task import Report
from ..process.run_program import InstallCancelled, InstallError, run
from ..protocol import Hello, ModelInfo
from ..protocol.fields import from_json

STOPPED = "Stopped; what has arrived is kept, and the next download goes on there."


@dataclass(frozen=True)
class ModelsDone:
    """What came of it: a sentence, and the models that can be used now; None where none came or went."""

    sentence: str
    infos: tuple[ModelInfo, ...] | None = None

    def __str__(self) -> str:
        return self.sentence


def run_models(
    python: Path, root: Path, words: Sequence[str], report: Report, cancelled: threading.Event
) -> ModelsDone:
    """Carry out one command on models, then ask what there is. Fault with the command's own sentence."""
    said = _lines(python, root, words, report, cancelled).get("said", "")
    if words[0] == "verify":
        return ModelsDone(str(said))
    report(1.0, "looking at it")
    models = words[words.index("--models") :][:2]
    listed = _lines(python, root, ("list", "--infos", *models), report, cancelled)
    return ModelsDone(str(said), _infos(listed.get("infos", [])))


def _lines(
    python: Path, root: Path, words: Sequence[str], report: Report, cancelled: threading.Event
) -> dict[str, object]:
    """All that the command's lines said, the last of each key."""
    told: dict[str, object] = {}

    def on_line(line: str) -> None:
        try:
            values = json.loads(line)
        except ValueError:  # what a library has to say
            return
        if isinstance(values, dict):
            told.update(values)
            if "total" in values:
                report(*_progress(values))

    command = [str(python), "-E", "-s", "-m", "backend", "models", *words, "--json"]
    try:
        run(command, on_line, cancelled, folder=root)
    except InstallCancelled as error:
        raise Fault(_stopped(words, told)) from error
    except InstallError as error:
        raise Fault(str(told.get("error", "")) or str(error)) from error
    return told


def _stopped(words: Sequence[str], told: Mapping[str, object]) -> str:
    """What a cancel leaves; the half copied folder goes, for an import begins anew, but no other import's."""
    if words[0] != "import":
        return STOPPED
    if "name" in told:
        arriving = Path(words[words.index("--models") + 1]) / ARRIVING
        shutil.rmtree(arriving / f"{Path(str(told['name'])).name}{HALF_COPIED}", ignore_errors=True)
    return "Stopped; what was half copied is removed."


def _progress(values: dict) -> tuple[float, str]:
    done, total = float(values["done"]), max(float(values["total"]), 1.0)
    unit, digits, name = (1e9, 1, "GB") if total >= 1e9 else (1e6, 0, "MB")
    return min(done / total, 1.0), f"{done / unit:.{digits}f} of {total / unit:.{digits}f} {name}"


def _infos(rows: object) -> tuple[ModelInfo, ...]:
    told = {"protocol": 0, "version": "", "python": "", "torch": "", "models": rows}
    return from_json(Hello, told, "models").models
