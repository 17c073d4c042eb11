"""The published models by name: pipeline.json and every checkpoint's configuration, without weights."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from backend.checkpoints.model_folder import ModelFolder, open_folder
from backend.checkpoints.weights import build_model
from backend.errors import UserError
from backend.layers.engines import TORCH, Engine

_CONFIGURATIONS = Path(__file__).parent / "published"


def published_models() -> tuple[str, ...]:
    """Names of the models whose configuration is known."""
    return tuple(sorted(path.stem for path in _CONFIGURATIONS.glob("*.json")))


def published_configuration(name: str) -> dict[str, Any]:
    """{"pipeline": pipeline.json, "checkpoints": {role: {"name", "args"}}}; UserError for an unknown name."""
    path = _CONFIGURATIONS / f"{name}.json"
    if name not in published_models():
        raise UserError(f"'{name}' is no published model; choose of {', '.join(published_models())}.")
    return json.loads(path.read_text())


def random_models(
    name: str, device: torch.device, dtype: torch.dtype, engine: Engine = TORCH
) -> tuple[ModelFolder, dict[str, nn.Module]]:
    """A published model at its full size with random weights, to time it without its weights."""
    configuration = published_configuration(name)
    settings = configuration["pipeline"]
    settings["args"]["models"] = {role: f"ckpts/{role}" for role in settings["args"]["models"]}
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "pipeline.json").write_text(json.dumps(settings))
        folder = open_folder(Path(place))
    models = {}
    for role, checkpoint in configuration["checkpoints"].items():
        with torch.device(device):
            model = build_model(checkpoint["name"], checkpoint["args"])
        models[role] = model.to_precision(dtype).use_engine(engine).eval()
    return folder, models
