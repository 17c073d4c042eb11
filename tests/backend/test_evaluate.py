"""`python -m backend evaluate`: from a folder of meshes to the table, the JSON line, sheets and document."""

import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_starter import write_tiny_starter
from training_shapes import cube, save, sphere

pytest.importorskip("numba")

from backend.__main__ import main as backend_main
from backend.checkpoints.model_folder import open_folder
from backend.encoding.latent_encoders import is_view_aligned
from backend.evaluation.autoencoder import open_autoencoder
from backend.evaluation.cases import scored_cases
from backend.evaluation.command import main
from backend.evaluation.prediction import Prediction, reconstruct
from backend.evaluation.report import BEGIN, END
from backend.evaluation.scores import KEYS
from backend.evaluation.sight import OUTLINES, SIGHT_KEYS, over_seeds
from backend.geometry.mesh_files import read_catalogue
from backend.geometry.voxelize import EMPTY
from backend.measures.comparison import surface_scores
from backend.trellis.engine import TrellisEngine
from backend.trellis.networks import Networks
from blender_trellis.protocol import Array, Generate

CPU = ("--device", "cpu", "--precision", "fp32", "--threads", "1")


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    save(cube(), folder / "crate.npz")
    save(sphere(rings=12), folder / "ball.npz")
    return folder


@pytest.fixture(scope="module")
def outcome(meshes, tiny_model, tmp_path_factory, capfd_module):
    """The exit code, stdout and stderr of a run with all that it can write."""
    made = tmp_path_factory.mktemp("made")
    document = made / "doc.md"
    document.write_text(f"before\n{BEGIN}\nold numbers\n{END}\nafter\n")
    code = main(
        ["--meshes", str(meshes), "--train", str(meshes), "--model", str(tiny_model), "--json"]
        + ["--sheets", str(made / "sheets"), "--report", str(document), *CPU]
    )
    out, err = capfd_module()
    return code, out, err, made


@pytest.fixture(scope="module")
def capfd_module():
    """What was written to stdout and stderr since the module's first use of it."""
    with pytest.MonkeyPatch.context() as patch:
        streams = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        yield lambda: (streams[0].getvalue(), streams[1].getvalue())


def test_a_document_without_a_place_for_the_report_is_refused_before_all_else(meshes, tmp_path, capsys):
    (tmp_path / "doc.md").write_text("no markers")
    for name, words in (("doc.md", "lacks the lines"), ("none.md", "no document")):
        assert main(["--meshes", str(meshes), "--model", "nowhere", "--report", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err


def test_the_last_line_is_one_object_with_every_key(outcome):
    code, out, _, _ = outcome
    assert code == 0
    report = json.loads(out.splitlines()[-1])
    assert {"starter", "retrieval", "mean_shape"} <= set(report["mean"])
    assert [one["name"] for one in report["objects"]] == ["ball.npz", "crate.npz"]
    for place in (report["mean"], *report["objects"]):
        for method in ("starter", "retrieval", "mean_shape"):
            keys = (*KEYS, *SIGHT_KEYS) if method == "starter" else KEYS
            assert tuple(place[method]) == keys
            assert all(value is None or np.isfinite(value) for value in place[method].values())
    assert report["mean"]["starter"]["seconds"] > 0 and report["mean"]["retrieval"]["seconds"] is None
    assert report["mean"]["autoencoder"] is None  # the published classes' encoder sees other features
    assert report["mean"]["retrieval"]["fscore_005"] > 0.8  # among these very objects, if not sides


def test_the_table_the_sheets_and_the_document_are_written(outcome):
    _, out, _, made = outcome
    assert "2 objects, 2 views each" in out and "mean, retrieval" in out
    with Image.open(made / "sheets" / "sheet_1.jpg") as sheet:
        assert sheet.width > 7 * 2 * 100
    text = (made / "doc.md").read_text()
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "old numbers" not in text and "| **retrieval** |" in text and "| crate.npz |" in text


def test_a_bad_mesh_is_told_and_the_others_scored(meshes, tiny_model, tmp_path, capsys):
    folder = tmp_path / "some"
    folder.mkdir()
    save(cube(), folder / "crate.npz")
    (folder / "broken.npz").write_bytes(b"no archive")
    (folder / "noise.glb").write_bytes(b"glTF" + bytes(40))
    command = ["--meshes", str(folder), "--train", str(meshes), "--model", str(tiny_model), *CPU]
    assert main([*command, "--views", "1", "--json"]) == 1
    out, err = capsys.readouterr()
    assert len(json.loads(out.splitlines()[-1])["objects"]) == 1
    assert "broken.npz: The mesh" in err and "noise.glb: The mesh" in err and "Traceback" not in err


def test_a_folder_without_meshes_is_a_clear_sentence(tmp_path, capsys):
    assert main(["--meshes", str(tmp_path)]) == 2
    assert "holds no meshes" in capsys.readouterr().err
    assert main([]) == 2
    assert "--meshes" in capsys.readouterr().err
    assert main(["--meshes", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_extension_says_that_it_does_not_hold_the_command(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert backend_main(["evaluate"]) == 2
    assert "repository" in capsys.readouterr().err


def test_what_is_scored_is_what_generate_makes(meshes, tiny_model):
    pipeline = Networks.open(tiny_model, torch.device("cpu"), torch.float32)
    (case,) = scored_cases(read_catalogue(meshes)[0], 1, 0)
    scored = reconstruct(pipeline, case.picture, seed=3)
    parts = {}
    file = io.BytesIO()
    case.cutout.save(file, "PNG")
    data = file.getvalue()
    request = Generate(
        job="one", model=str(tiny_model), device="cpu", precision="fp32", seed=3, formats=("mesh",),
        pictures=(Array("u1", (len(data),), data),), picture_names=("one.png",),
    )  # fmt: skip
    TrellisEngine().make(request, lambda *_: None, lambda one: parts.update({one.kind: one.value}))
    assert torch.equal(scored.mesh.vertices, parts["mesh"].vertices)
    assert torch.equal(scored.mesh.faces, parts["mesh"].faces)


def test_the_starter_is_view_aligned_and_its_autoencoder_keeps_a_ball(meshes, tiny_model):
    assert is_view_aligned(open_folder("starter")) and not is_view_aligned(open_folder(tiny_model))
    pipeline = Networks.open("starter", torch.device("cpu"), torch.float32)
    (case,) = scored_cases(read_catalogue(meshes)[0], 1, 0)
    autoencoder = open_autoencoder(pipeline)
    assert autoencoder is not None
    assert surface_scores(autoencoder.mesh(case.scene), case.scene.mesh)["fscore_005"] > 0.9


def test_several_seeds_give_mean_best_and_spread():
    a, b = (np.zeros((4, 4, 4), bool) for _ in range(2))
    a[1:3, :3, 1:3], b[1:3, 1:, 1:3] = True, True  # alike in two thirds of each, half of these behind
    made = [Prediction(one, EMPTY) for one in (a, b)]
    scores = [{"iou": 0.5, "chamfer": 0.1, "psnr": None}, {"iou": 0.7, "chamfer": 0.3, "psnr": None}]
    found = over_seeds(scores, made)
    assert found["starter"] == pytest.approx({"iou": 0.6, "chamfer": 0.2, "psnr": None})
    assert found["best"] == {"iou": 0.7, "chamfer": 0.1, "psnr": None}
    spread = found["spread"]
    assert spread["iou"] == pytest.approx(0.2) and spread["psnr"] is None
    assert spread["alike"] == pytest.approx(0.5) and spread["alike_behind"] == pytest.approx(0.5)
    assert spread["alike_outline"] > 0.9  # one lies before the other


def test_pictures_without_shapes_are_judged_by_sight(tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = Image.new("RGBA", (96, 96))
    picture.paste((200, 80, 40, 255), (20, 20, 76, 76))
    picture.save(folder / "card.png")
    (folder / "notes.txt").write_text("no picture")
    model = write_tiny_starter(tmp_path / "model")
    command = ["--pictures", str(folder), "--model", str(model), "--seeds", "2", "--json", *CPU]
    assert main(command) == 1
    out, err = capsys.readouterr()
    report = json.loads(out.splitlines()[-1])
    assert "notes.txt" in err and [one["name"] for one in report["objects"]] == ["card.png"]
    assert {*SIGHT_KEYS, "seconds"} == set(report["mean"]["starter"]) == set(report["mean"]["best"])
    assert "alike_outline" in report["mean"]["spread"] and "seeds: 2" in out and "genus" in out
    assert all(0 <= report["mean"]["starter"][key] <= 1 for key in OUTLINES)


def test_pictures_need_a_model_that_turns_objects_to_them(tiny_model, tmp_path, capsys):
    assert main(["--pictures", str(tmp_path), "--model", str(tiny_model), *CPU]) == 2
    assert "--meshes" in capsys.readouterr().err
