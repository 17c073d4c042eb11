"""Every published checkpoint: keys, shapes and precisions of the state dict, and the number of parameters."""

import json
from pathlib import Path

import pytest
import torch

from backend.checkpoints.weights import build_model

MANIFESTS = sorted((Path(__file__).parent / "manifests").glob("*.json"))


def test_all_fourteen_are_here() -> None:
    assert len(MANIFESTS) == 14


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("prefix", ["", "Elastic"])
def test_state_dict_is_the_published_one(path: Path, prefix: str) -> None:
    manifest = json.loads(path.read_text())
    with torch.device("meta"):
        model = build_model(prefix + manifest["name"], manifest["args"]).to_precision(torch.float16)
    built = {
        key: [*value.shape, str(value.dtype).removeprefix("torch.")]
        for key, value in model.state_dict().items()
    }
    assert built == manifest["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["parameters"]
