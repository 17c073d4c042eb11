"""`python -m backend train`, from a folder of meshes to a packed model that the pipeline opens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_shapes import cube, save, sphere

from backend.errors import UserError
from backend.training.calibrate import CANDIDATES
from backend.training.command import main, parser
from backend.training.run import claim, scaled
from backend.training.starter.recipe import PARTS, Recipe
from backend.trellis.networks import Networks

ROOT = Path(__file__).parents[2]


def train(tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
    script = Path(__file__).with_name("training_command_process.py")
    return subprocess.run(
        [sys.executable, str(script), "--device", "cpu", "--threads", "1", *options],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=3600,
    )


def test_one_command_makes_a_model_in_pieces(tmp_path):
    (tmp_path / "data").mkdir()
    save(cube(), tmp_path / "data" / "cube.npz")
    save(sphere(rings=6), tmp_path / "data" / "ball.npz")
    out = tmp_path / "out"
    options = ["--recipe", "starter", "--data", str(tmp_path / "data"), "--minutes", "5", "--out", str(out)]
    begun = train(tmp_path, *options, "--piece-minutes", "0")
    assert begun.returncode == 0 and "the same command goes on" in begun.stdout, begun.stderr
    done = train(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert 0 <= report["calibration"]["voxel_score"] <= 1
    pipeline = Networks.open(out / "model", torch.device("cpu"), torch.float32)
    assert pipeline.folder.structure_sampler in CANDIDATES


def test_what_is_asked_for_must_make_sense(tmp_path, capsys):
    assert main(["--recipe", "starter"]) == 1
    assert main(["--data", str(tmp_path)]) == 1
    assert main(["--recipe", "starter", "--data", str(tmp_path), "--minutes", "0"]) == 1
    words = ["--recipe", "starter-text", "--data", str(tmp_path), "--parts", "latent_autoencoder"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert "--data" in text and "--recipe" in text and "more than 0 minutes" in text
    assert "no latent_autoencoder" in text
    words = ["--recipe", "starter", "--data", str(tmp_path), "--parts", "prior"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "The starter has no prior" in capsys.readouterr().err


def test_a_state_goes_on_with_what_it_was_begun_with(tmp_path):
    claim(tmp_path, {"seed": 0, "minutes": 25.0})
    claim(tmp_path, {"seed": 0, "minutes": 25.0})
    with pytest.raises(UserError, match="seed 0, not 1"):
        claim(tmp_path, {"seed": 1, "minutes": 25.0})


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert parser().parse_args([]).threads == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert parser().parse_args([]).threads == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert parser().parse_args([]).threads == 1


def test_the_recipe_for_a_gpu_has_the_same_networks():
    small, large = Recipe(), Recipe().for_device(torch.device("cuda"))
    assert large.lifting == small.lifting and large.structure_flow == small.structure_flow
    assert large.lifting_batch > small.lifting_batch
    assert large.loops.keys() == small.loops.keys() == set(PARTS)
    assert small.for_device(torch.device("cpu")) is small


def test_minutes_are_shared_out_as_the_recipe_does():
    loops = scaled(Recipe().loops, PARTS, 36.0)
    assert sum(loop.minutes for loop in loops.values()) == pytest.approx(36.0)
    assert loops["lifting"].minutes / loops["colors"].minutes == pytest.approx(30 / 6)
    assert scaled(Recipe().loops, ("lifting",), 36.0)["lifting"].minutes == pytest.approx(36.0)
