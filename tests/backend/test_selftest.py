"""The self-test passes on what is recorded and fails on everything else."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.selftest import BUNDLED, main


@pytest.fixture
def goldens(tmp_path: Path) -> Path:
    """A copy of two small bundled goldens, to be damaged."""
    for name in ("samplers", "ss_flow"):
        shutil.copytree(BUNDLED / name, tmp_path / name)
    return tmp_path


def outcome(capsys: pytest.CaptureFixture, *argv: str) -> tuple[int, dict]:
    code = main([*argv, "--json", "--device", "cpu"])
    return code, json.loads(capsys.readouterr().out)


def change(folder: Path, name: str, edit) -> None:
    tensors = load_file(folder / "io.safetensors")
    edit(tensors)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "io.safetensors")


def test_every_bundled_golden_agrees(capsys):
    code, report = outcome(capsys)
    assert [one for one in report["checks"] if not one["passed"]] == []
    assert code == 0 and report["passed"] and len(report["checks"]) > 100
    assert {one["golden"] for one in report["checks"]} == {
        path.parent.name for path in BUNDLED.rglob("io.json")
    }
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) <= 10e6


def test_a_wrong_answer_fails(goldens, capsys):
    change(goldens / "ss_flow", "io", lambda t: t["out/v"].view(-1)[3:4].add_(1e-3))
    code, report = outcome(capsys, "--goldens", str(goldens))
    failed = [one for one in report["checks"] if not one["passed"]]
    assert code == 1 and [one["component"] for one in failed] == ["out/v"]
    assert failed[0]["error"] == pytest.approx(1e-3, rel=1e-2)


def test_a_wrong_weight_fails(goldens, capsys):
    weights = goldens / "ss_flow" / "ss_flow.safetensors"
    state = load_file(weights)
    state["blocks.0.cross_attn.to_kv.bias"] += 0.01
    save_file(state, weights)
    assert outcome(capsys, "--goldens", str(goldens))[0] == 1


def test_an_unknown_kind_fails(goldens, capsys):
    sidecar = goldens / "samplers" / "io.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"kind": "teapot"}))
    code, report = outcome(capsys, "--goldens", str(goldens))
    assert code == 1 and any("teapot" in one["fault"] for one in report["checks"])


def test_a_tensor_that_no_check_looks_at_fails(goldens, capsys):
    change(goldens / "ss_flow", "io", lambda t: t.__setitem__("out/new", torch.zeros(2)))
    code, report = outcome(capsys, "--goldens", str(goldens))
    assert code == 1 and [one["component"] for one in report["checks"] if not one["passed"]] == ["out/new"]


@pytest.mark.parametrize("damage", ["missing key", "extra key", "other configuration", "truncated"])
def test_a_damaged_golden_fails_and_the_others_still_run(goldens, capsys, damage):
    stem = goldens / "ss_flow" / "ss_flow"
    state = load_file(stem.with_suffix(".safetensors"))
    if damage == "missing key":
        del state["input_layer.bias"]
    if damage == "extra key":
        state["surprise"] = torch.zeros(1)
    save_file(state, stem.with_suffix(".safetensors"))
    if damage == "truncated":
        whole = stem.with_suffix(".safetensors").read_bytes()
        stem.with_suffix(".safetensors").write_bytes(whole[: len(whole) // 2])
    if damage == "other configuration":
        settings = json.loads(stem.with_suffix(".json").read_text())
        settings["args"]["num_heads"] = 2
        stem.with_suffix(".json").write_text(json.dumps(settings))
    code, report = outcome(capsys, "--goldens", str(goldens))
    assert code == 1
    assert all(one["passed"] for one in report["checks"] if one["golden"] == "samplers")
    assert any(one["fault"] for one in report["checks"] if one["golden"] == "ss_flow")


def test_no_goldens_is_one_sentence(tmp_path, capsys):
    assert main(["--goldens", str(tmp_path)]) == 2
    assert "no goldens" in capsys.readouterr().err
