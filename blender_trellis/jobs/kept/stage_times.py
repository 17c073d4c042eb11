"""How long each stage of a job has taken, kept in a file, so that the bar and the time left are right here.

By model, device and precision; seconds of each stage, new ones counting as much as all before them.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path

from ...protocol import LoadModel, Making

log = logging.getLogger(__name__)

FILE = "stage_times.json"
Times = Mapping[str, Mapping[str, float]]


def times_key(request: Making | LoadModel) -> str:
    """What requests share that take equally long."""
    return f"{request.model}, {request.device}, {request.precision}, {request.engine}"


def with_run(times: Times, request: Making | LoadModel, seconds: Mapping[str, float]) -> Times:
    """The times after a run whose stages took so many seconds."""
    known = times.get(times_key(request), {})
    mean = {stage: (known.get(stage, took) + took) / 2 for stage, took in seconds.items()}
    return {**times, times_key(request): {**known, **mean}}


def read_times(folder: Path) -> Times:
    """The stored times; none where none can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {
            str(key): {str(stage): _seconds(took) for stage, took in stages.items()}
            for key, stages in content.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        log.warning("%s cannot be used: %s", folder / FILE, error)
        return {}


def write_times(folder: Path, times: Times) -> None:
    """Stores them; where that is impossible the next session learns them again."""
    part = folder / f".{FILE}.part"
    try:
        part.write_text(json.dumps(times, indent=1), encoding="utf-8")
        part.replace(folder / FILE)
    except OSError as error:
        log.warning("%s cannot be written: %s", folder / FILE, error)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{value} is no time")
    return float(value)
