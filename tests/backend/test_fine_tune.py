"""A model folder learns somebody's own object: mesh, encoders, flows, and a folder that generates."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_model import write_tiny_encoders
from training_shapes import cube, save

from backend.pipeline import Pipeline
from backend.training.assets import Entry, read_catalogue
from backend.training.fine_tune import fine_tune
from backend.training.fine_tune_config import FineTuneConfig

CPU = torch.device("cpu")
CONFIG = FineTuneConfig(
    steps=40,
    learning_rate=5e-3,
    warm_up=2,
    structure_batch=2,
    latent_batch=1,
    pictures=2,
    feature_views=4,
    ema=0.8,
    bfloat16=False,
)


@pytest.fixture
def entries(tmp_path) -> tuple[Entry, ...]:
    (tmp_path / "data").mkdir()
    save(cube(), tmp_path / "data" / "red_cube.npz")
    return read_catalogue(tmp_path / "data")


@pytest.fixture
def teachable(tiny_model, tmp_path) -> Path:
    """The tiny model with the encoders of the published repository."""
    shutil.copytree(tiny_model, tmp_path / "teachable")
    write_tiny_encoders(tmp_path / "teachable")
    return tmp_path / "teachable"


def test_a_model_learns_one_object_and_the_new_folder_generates(teachable, entries, tmp_path):
    taught = fine_tune(teachable, entries, tmp_path / "run", CPU, CONFIG)
    losses = json.loads((tmp_path / "run" / "losses.json").read_text())
    for part, values in losses.items():
        assert values["after"] < 0.85 * values["before"], part
    generates(taught)
    before, after = (
        load_file(folder / "ckpts/slat_flow_model.safetensors") for folder in (teachable, taught)
    )
    assert {k: (v.dtype, v.shape) for k, v in before.items()} == {
        k: (v.dtype, v.shape) for k, v in after.items()
    }
    assert any(not torch.equal(before[key], after[key]) for key in before)
    kept = "ckpts/slat_decoder_gs.safetensors"
    assert (taught / kept).read_bytes() == (teachable / kept).read_bytes()
    names = sorted(path.relative_to(teachable) for path in teachable.rglob("*"))
    assert names == sorted(path.relative_to(taught) for path in taught.rglob("*"))


@torch.inference_mode()
def generates(folder: Path) -> None:
    """The pipeline makes a structured latent of a picture by the models of this folder."""
    pipeline = Pipeline.open(folder, CPU, torch.float32)
    generator = torch.Generator().manual_seed(0)
    condition = pipeline.condition_on_pictures([Image.new("RGB", (518, 518), (90, 20, 40))])
    settings = replace(pipeline.folder.structure_sampler, steps=2)
    latent = pipeline.sample_structure_latent(condition, settings, generator)
    assert pipeline.model("sparse_structure_decoder")(latent).isfinite().all()
    coords = torch.tensor(np.argwhere(np.ones((4, 4, 4))), dtype=torch.int32)
    (structured,) = pipeline.sample_structured_latent(condition, [coords], settings, generator)
    assert structured.isfinite().all()
    assert len(pipeline.decode_gaussians(coords, structured)) > 0
