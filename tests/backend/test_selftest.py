"""The self-test passes on what is recorded and fails on everything else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.representations.gaussians import Gaussians, write_ply
from backend.selftest import BUNDLED, main
from backend.selftest.golden import largest_error
from backend.selftest.pipelines import ply_files


@pytest.fixture
def primitives(tmp_path: Path) -> Path:
    """A copy of the golden whose sidecar allows single tensors an error of their own."""
    return Path(shutil.copytree(BUNDLED / "primitives", tmp_path / "set" / "primitives")).parent


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


def test_the_frequencies_of_the_time_may_differ_by_what_an_fp32_angle_of_1000_carries(primitives, capsys):
    """Half a unit in the last place of an angle in [512, 1024) is 3e-5, of its two factors as much again."""
    for error, passes in ((6e-5, True), (2e-4, False)):
        shutil.copy(BUNDLED / "primitives" / "io.safetensors", primitives / "primitives")
        change(primitives / "primitives", "io", lambda t, error=error: t["t/freq256"][2, 5:6].add_(error))
        code, report = outcome(capsys, "--goldens", str(primitives))
        failed = [one["component"] for one in report["checks"] if not one["passed"]]
        assert (code, failed) == ((0, []) if passes else (1, ["t/freq256"]))


def name_allowances(primitives: Path, named: object) -> None:
    sidecar = primitives / "primitives" / "io.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"tensor_atol": named}))


def test_a_sidecar_names_the_allowance_of_any_tensor(primitives, capsys):
    """Of that tensor alone, and below the ordinary allowance too."""
    change(primitives / "primitives", "io", lambda t: (t["rms/out"].add_(0.02), t["up/feats"].add_(5e-6)))
    for named, wrong in (
        ({"rms/out": 0.03}, []),
        ({"rms/out": 1}, []),
        ({"rms/out": 0.01}, ["rms/out"]),
        ({"rms/out": 0.03, "up/feats": 1e-6}, ["up/feats"]),
        ({"conv/k3_out": 0.03}, ["rms/out"]),
    ):
        name_allowances(primitives, {"t/freq256": 1e-4} | named)
        report = outcome(capsys, "--goldens", str(primitives))[1]
        assert [one["component"] for one in report["checks"] if not one["passed"]] == wrong


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"t/freq": 1e-4}, "no tensor t/freq;"),
        ({"down/coords": 1.0}, "down/coords holds integers"),
        *(({"t/freq256": value}, "above 0") for value in (0, -1e-4, float("nan"), float("inf"), 10**400)),
        *(({"t/freq256": value}, "needs a number") for value in (True, "1e-4", None, [1e-4])),
        ([1e-4], "no table"),
    ],
)
def test_an_allowance_that_makes_no_sense_is_one_sentence(primitives, capsys, named, words):
    name_allowances(primitives, named)
    assert main(["--goldens", str(primitives)]) == 2
    said = capsys.readouterr()
    assert words in said.err and "primitives" in said.err and len(said.err.splitlines()) == 1


def test_a_turned_rotation_may_differ_by_what_roots_near_zero_make_of_rounding(tmp_path):
    """Every component is the root of a difference of numbers of size one, which carries 4e-7 in fp32."""
    exact = torch.tensor([[0.7, 0.1, -0.5, 0.5]])  # turned to y up, y + z becomes a component: zero
    for component, passes in ((0.0, True), (3e-4, True), (1e-2, False)):
        splats = Gaussians(
            *(torch.full((1, width), 0.1) for width in (3, 3, 1, 3)),
            rotation=exact + component / 2**0.5 * torch.tensor([[0.0, 0.0, 1.0, 1.0]]),
        )
        write_ply(tmp_path / "run.ply", splats)
        answers = {name: pair for name, *pair in ply_files(tmp_path / "run", replace(splats, rotation=exact))}
        assert (largest_error(*answers["run.ply rotation"]) <= 1e-5) == passes


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
