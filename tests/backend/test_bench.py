"""The bench times every stage on the tiny model; numbers are only looked at for being there."""

import json

import torch

from backend.bench import main
from backend.finishing.settings import PRESETS
from backend.layers.dense_conv import DenseConv3d
from backend.machine.matrix_peak import operation_counter

QUICK = ("--device", "cpu", "--precision", "fp32")


def test_every_stage_is_timed(tiny_model, capsys, monkeypatch):
    monkeypatch.setitem(PRESETS, "mobile", {"faces": 200, "resolution": 32})
    options = ["--finish", "mobile", "--texture", "64", "--json"]
    assert main(["--model", str(tiny_model), *QUICK, *options]) == 0
    report = json.loads(capsys.readouterr().out)
    stages = {one["stage"]: one for one in report["stages"]}
    assert list(stages) == [
        "load",
        "condition",
        "sparse_structure",
        "decode_sparse_structure",
        "structured_latent",
        "decode_gaussian",
        "decode_radiance_field",
        "decode_mesh",
        "extract_mesh",
        "export_ply",
        "export_glb",
        "finish",
        "finish_whole",
        "finish_outside",
        "finish_crumbs",
        "finish_faces",
        "finish_watertight",
        "texture_unwrap",
        "texture_bake",
    ]
    # three steps from t = 1, 0.86 and 0.6, all of them guided: two passes each
    assert stages["sparse_structure"]["forward_passes"] == 6
    assert set(report["matrix_peak"]) == {"float32", "bfloat16"} and min(report["matrix_peak"].values()) > 1e8
    assert report["peak_memory_bytes"] > 1e8
    idle = {"finish_outside", "finish_crumbs", "finish_watertight"}  # little or nothing is left for these
    assert all(one["seconds"] > 0 for name, one in stages.items() if name not in idle)


def test_the_operations_of_every_stage_with_a_network_are_counted(tiny_model, capsys):
    assert main(["--model", str(tiny_model), *QUICK, "--finish", "raw"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[3:]}
    for stage in ("condition", "sparse_structure", "structured_latent", "decode_gaussian", "decode_mesh"):
        assert lines[stage].endswith("%"), lines[stage]
    assert "%" not in lines["load"]


def test_operations_are_those_of_the_shapes():
    """A product and a sum count as two."""
    x, heads = torch.randn(1, 8, 6, 6, 6), torch.randn(1, 2, 64, 16)
    conv, linear = DenseConv3d(8, 16, 3, padding=1), torch.nn.Linear(16, 32)
    with torch.inference_mode(), operation_counter() as counted:
        conv(x)
    assert counted.get_total_flops() == 2 * 6**3 * 27 * 8 * 16
    with torch.inference_mode(), operation_counter() as counted:
        linear(heads)
        torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
    assert counted.get_total_flops() == 2 * 2 * 64 * 16 * 32 + 2 * (2 * 2 * 64 * 64 * 16)


def test_a_text_model_is_timed_with_a_sentence(text_model, capsys):
    assert main(["--model", str(text_model), *QUICK, "--finish", "raw", "--json"]) == 0
    stages = [one["stage"] for one in json.loads(capsys.readouterr().out)["stages"]]
    assert "condition" in stages and "extract_mesh" in stages


def test_an_unknown_published_size_is_one_sentence(capsys):
    assert main(["--random-weights", "--model", "TRELLIS-huge"]) == 2
    assert "TRELLIS-image-large" in capsys.readouterr().err
