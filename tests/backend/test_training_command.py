"""`python -m backend train`, from a folder of meshes to a packed model that the pipeline opens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_shapes import cube, save, sphere

from backend.errors import UserError
from backend.training.command import main
from backend.training.settings import Settings, kept_settings
from backend.training.starter.clock import Clock
from backend.training.starter.recipe import Recipe
from backend.training.starter.run import PARTS
from backend.trellis.pipeline import Pipeline

ROOT = Path(__file__).parents[2]


def test_one_command_leaves_few_files_that_hold_a_model(tmp_path):
    (tmp_path / "data").mkdir()
    save(cube(), tmp_path / "data" / "cube.npz")
    save(sphere(rings=6), tmp_path / "data" / "ball.npz")
    state, out = tmp_path / "state", tmp_path / "out"
    script = Path(__file__).with_name("training_command_process.py")
    options = ["--recipe", "starter", "--data", str(tmp_path / "data"), "--device", "cpu", "--minutes", "5"]
    places = ["--out", str(out), "--state", str(state), "--threads", "1"]
    done = subprocess.run(
        [sys.executable, str(script), *options, *places],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    files = [path for path in out.iterdir() if path.is_file()]
    assert len(files) <= 8 and all(path.stat().st_size < 16_000_000 for path in files)
    report = json.loads((out / "report.json").read_text())
    assert 0 <= report["calibration"]["voxel_score"] <= 1 and report["minutes"] < 5
    model = tmp_path / "model"
    assert main(["--unpack", str(out), "--export", str(model)]) == 0
    pipeline = Pipeline.open(model, torch.device("cpu"), torch.float32)
    assert pipeline.folder.structure_sampler.steps in (2, 12)


def test_what_is_asked_for_must_make_sense(tmp_path, capsys):
    assert main(["--recipe", "starter"]) == 1
    assert main(["--data", str(tmp_path)]) == 1
    assert main(["--unpack", str(tmp_path), "--export", str(tmp_path / "model")]) == 1
    text = capsys.readouterr().err
    assert "--data" in text and "--recipe" in text and "model.json" in text


def test_a_state_goes_on_with_what_it_was_begun_with(tmp_path):
    path = tmp_path / "settings.json"
    begun = kept_settings(path, Settings("data", 0, "cpu", 25.0), asked_minutes=25.0, writes=True)
    assert kept_settings(path, Settings("data", 0, "cpu", 60.0), asked_minutes=None, writes=True) == begun
    with pytest.raises(UserError, match="--minutes 25"):
        kept_settings(path, Settings("data", 1, "cpu", 25.0), asked_minutes=25.0, writes=True)


def test_the_recipe_for_a_gpu_has_the_same_networks():
    small, large = Recipe(), Recipe().for_device(torch.device("cuda"))
    assert large.lifting == small.lifting and large.structure_flow == small.structure_flow
    assert large.lifting_batch > small.lifting_batch
    assert large.loops.keys() == small.loops.keys() == set(PARTS)
    assert small.for_device(torch.device("cpu")) is small


def test_the_clock_counts_over_all_calls(tmp_path):
    clock = Clock(tmp_path / "clock.json", minutes=1.0)
    assert 59 < clock.left <= 60
    (tmp_path / "clock.json").write_text('{"seconds": 45.0}')
    again = Clock(tmp_path / "clock.json", minutes=1.0, piece=0.5)
    assert 14 < again.left <= 15 and again.training_end < again.piece_end
    with pytest.raises(UserError):
        Clock(tmp_path / "clock.json", minutes=0.0)
