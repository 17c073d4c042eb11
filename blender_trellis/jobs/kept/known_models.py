"""What the backend told of its models, kept in a file, so that panels are right before it runs again."""

import json
import logging
from pathlib import Path

from ...protocol import Hello, ModelInfo, ProtocolError
from ...protocol.fields import from_json, to_json

log = logging.getLogger(__name__)

FILE = "models.json"
BUNDLED = (
    ModelInfo("starter", ("pictures",), gives=("mesh", "gaussian")),
    ModelInfo("starter-text", ("text",), gives=("mesh", "gaussian")),
)
"""What is known before a backend has run at all."""


def read_models(folder: Path) -> tuple[ModelInfo, ...]:
    """The stored models, the bundled ones where none are stored or an older version stored them."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return from_json(
            Hello, {"protocol": 0, "version": "", "python": "", "torch": "", "models": content}, FILE
        ).models
    except FileNotFoundError:
        return BUNDLED
    except (OSError, ValueError, RecursionError, ProtocolError) as error:
        log.warning("%s cannot be used: %s", folder / FILE, error)
        return BUNDLED


def write_models(folder: Path, models: tuple[ModelInfo, ...]) -> None:
    """Stores them; where that is impossible the next session begins with the bundled ones."""
    part = folder / f".{FILE}.part"
    try:
        part.write_text(json.dumps(to_json(models), indent=1), encoding="utf-8")
        part.replace(folder / FILE)
    except OSError as error:
        log.warning("%s cannot be written: %s", folder / FILE, error)
