"""The bench times every stage on the tiny model; numbers are only looked at for being there."""

import json

from backend.bench import main


def test_every_stage_is_timed(tiny_model, capsys):
    assert main(["--model", str(tiny_model), "--device", "cpu", "--precision", "fp32", "--json"]) == 0
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
    ]
    # three steps from t = 1, 0.86 and 0.6, all of them guided: two passes each
    assert stages["sparse_structure"]["forward_passes"] == 6
    assert report["peak_memory_bytes"] > 1e8 and all(one["seconds"] > 0 for one in stages.values())


def test_a_text_model_is_timed_with_a_sentence(text_model, capsys):
    assert main(["--model", str(text_model), "--device", "cpu", "--precision", "fp32", "--json"]) == 0
    stages = [one["stage"] for one in json.loads(capsys.readouterr().out)["stages"]]
    assert "condition" in stages and "extract_mesh" in stages


def test_an_unknown_published_size_is_one_sentence(capsys):
    assert main(["--random-weights", "--model", "TRELLIS-huge"]) == 2
    assert "TRELLIS-image-large" in capsys.readouterr().err
