"""A model folder learns somebody's own object: mesh, encoders, flows, and a folder that generates."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_model import write_tiny_encoders
from tiny_starter import write_tiny_starter
from training_shapes import cube, save, sphere

from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.published_models import published_configuration
from backend.checkpoints.weights import build_model
from backend.encoding.latent_encoders import weights_of
from backend.encoding.view_features import voxel_places
from backend.errors import MissingModel, UserError
from backend.geometry.mesh_files import Entry, read_catalogue
from backend.geometry.render import render_whole
from backend.geometry.scene import turned_mesh
from backend.geometry.views import feature_views, picture_views
from backend.training.command import main
from backend.training.fine_tune.captions import read_captions, words_of
from backend.training.fine_tune.config import FineTuneConfig, checkpoint_of
from backend.training.fine_tune.prepare import Preparation
from backend.training.fine_tune.run import FineTuneRun, fine_tune
from backend.training.flows import (
    FlowTraining,
    LatentExamples,
    StructureExamples,
    latent_flow_part,
    structure_flow_part,
)
from backend.training.loop import LoopConfig, Trainer
from backend.trellis.decoding import Voxels
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings

CPU = torch.device("cpu")
CONFIG = FineTuneConfig(
    steps=30,
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


def test_a_stopped_run_ends_like_one_that_was_not(teachable, entries, tmp_path):
    config = replace(CONFIG, steps=3, parts=("structure_flow",), pictures=1)
    whole = fine_tune(teachable, entries, tmp_path / "whole", CPU, config)
    out = tmp_path / "stopped"
    assert fine_tune(teachable, entries, out, CPU, config, until=0.0) is None
    run = FineTuneRun(Preparation(open_folder(teachable), entries, out / "prepared", CPU, config), out)
    part = run.part("structure_flow")
    trainer = Trainer(part, run.config("structure_flow"), out)
    trainer.train_step(part.batch(0))
    trainer.save()
    times = {path: path.stat().st_mtime_ns for path in (out / "prepared").iterdir()}
    stopped = fine_tune(teachable, entries, out, CPU, config)
    assert times == {path: path.stat().st_mtime_ns for path in (out / "prepared").iterdir()}
    flow = "ckpts/sparse_structure_flow_model.safetensors"
    one, other = load_file(whole / flow), load_file(stopped / flow)
    assert all(torch.equal(one[key], other[key]) for key in one)
    for others, changes in ((entries[:0], {}), (entries, {"seed": 5})):
        with pytest.raises(UserError, match="holds a training with"):
            fine_tune(teachable, others, out, CPU, replace(config, **changes))


def test_parts_that_are_trained_one_by_one_are_all_in_the_model(teachable, entries, tmp_path):
    config, out = replace(CONFIG, steps=2, pictures=1), tmp_path / "run"
    for parts in (("latent_flow",), ("structure_flow",)):
        taught = fine_tune(teachable, entries, out, CPU, replace(config, parts=parts))
    for name in ("sparse_structure_flow_model", "slat_flow_model"):
        before, after = (load_file(one / f"ckpts/{name}.safetensors") for one in (teachable, taught))
        assert any(not torch.equal(before[key], after[key]) for key in before), name
    save_file(
        {key: value + 1 for key, value in before.items()}, teachable / "ckpts/slat_flow_model.safetensors"
    )
    with pytest.raises(UserError, match=r"model \(latent_flow\)"):
        fine_tune(teachable, entries, out, CPU, replace(config, parts=("structure_flow",)))


def test_a_part_learns_of_the_encoder_that_was_trained_before_it(entries, tmp_path):
    model, out = write_tiny_starter(tmp_path / "starter"), tmp_path / "run"
    config = replace(CONFIG, steps=1, pictures=1, lifting_batch=1, parts=("lifting",))
    fine_tune(model, entries, out, CPU, config)
    taught = fine_tune(model, entries, out, CPU, replace(config, parts=("structure_flow",)))
    learned = load_file(out / "trained_encoder.safetensors")
    exported = load_file(weights_of(checkpoint_of(open_folder(taught), "lifting")))
    assert all(torch.equal(learned[key], exported[key]) for key in learned)
    (record,) = (out / "prepared").glob("*.tokens.safetensors")
    tokens = load_file(record)["tokens"]
    preparation = Preparation(open_folder(model), entries, tmp_path / "prepared", CPU, config)
    preparation.tokens(out / "trained_encoder")
    (record,) = (tmp_path / "prepared").glob("*.tokens.safetensors")
    assert torch.equal(tokens, load_file(record)["tokens"])


@torch.inference_mode()
def generates(folder: Path) -> None:
    """The pipeline makes a structured latent of a picture by the models of this folder."""
    networks = Networks.open(folder, CPU, torch.float32)
    sampler = replace(networks.folder.structure_sampler, steps=2)
    coords = torch.tensor(np.argwhere(np.ones((4, 4, 4))), dtype=torch.int32)
    guide = networks.conditioner.from_pictures([Image.new("RGB", (518, 518), (90, 20, 40))])
    run = partial(generate, networks, guide, Settings(sampler, sampler, ("gaussian",)))
    latent = next(one.value for one in run(torch.Generator().manual_seed(0)) if isinstance(one, Output))
    assert networks["sparse_structure_decoder"](latent).isfinite().all()
    resolution = networks["slat_flow_model"].config.resolution
    shape = Voxels(coords, resolution, torch.empty(0))
    events = run(torch.Generator().manual_seed(0), voxels=[shape])
    outputs = {one.kind: one.value for one in events if isinstance(one, Output)}
    assert outputs["structured_latent"].feats.isfinite().all()
    assert len(outputs["gaussian"].position) > 0


def test_the_starter_learns_with_the_encoder_that_guesses(entries, tmp_path):
    folder = write_tiny_starter(tmp_path / "starter")
    taught = fine_tune(folder, entries, tmp_path / "run", CPU, replace(CONFIG, lifting_batch=2))
    losses = json.loads((tmp_path / "run" / "losses.json").read_text())
    assert list(losses) == ["lifting", "structure_flow", "latent_flow"]
    for part, values in losses.items():
        assert values["after"] < 0.95 * values["before"], part
    generates(taught)


def test_a_text_model_learns_from_captions(text_model, entries, tmp_path):
    write_tiny_encoders(text_model)
    (tmp_path / "data" / "captions.csv").write_text("file,caption\nred_cube.npz,a cat\nred_cube.npz,cat\n")
    captions = read_captions(tmp_path / "data", entries)
    assert captions == {"red_cube.npz": ("a cat", "cat")}
    config = replace(CONFIG, parts=("structure_flow",), steps=2)
    taught = fine_tune(text_model, entries, tmp_path / "run", CPU, config, captions)
    (record,) = (tmp_path / "run" / "prepared").glob("*.tokens.safetensors")
    condition = Networks.open(taught, CPU, torch.float32).conditioner.from_text("cat")
    tokens = load_file(record)
    assert torch.allclose(tokens["tokens"][1].float(), condition.tokens[0][0], atol=2e-3)
    assert torch.allclose(tokens["null"].float(), condition.null, atol=2e-3)


@pytest.fixture
def namesakes(tmp_path) -> tuple[Path, tuple[Entry, ...]]:
    """A folder, and what is in it: chair/model.npz, car/model.npz, lamp.npz."""
    paths = [tmp_path / name for name in ("chair/model.npz", "car/model.npz", "lamp.npz")]
    return tmp_path, tuple(Entry(one, one.relative_to(tmp_path).as_posix(), "") for one in paths)


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_captions_are_of_the_file_that_lies_there(namesakes, separator):
    folder, entries = namesakes
    rows = f"car{separator}model.npz,a car\nchair{separator}model.npz,a chair\nold/lamp.obj,a lamp\n"
    (folder / "captions.csv").write_text("file,caption\n" + rows)
    expected = {"car/model.npz": ("a car",), "chair/model.npz": ("a chair",), "lamp.npz": ("a lamp",)}
    assert read_captions(folder, entries) == expected
    named = tuple(replace(one, name=str(n)) for n, one in enumerate(entries))  # as a manifest names them
    (folder / "captions.csv").write_text("file,caption\n1,a car\nchair/model.npz,a chair\n")
    assert read_captions(folder, named) == {"1": ("a car",), "0": ("a chair",)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file,caption\nmodel.npz,a chair\n", r"which object model.npz is \(chair/model.npz, car/model.npz"),
        (b"file,caption\na/lamp.npz,a\nb/lamp.npz,b\n", "a/lamp.npz and b/lamp.npz"),
        (b"file,caption\nlamp.npz,caf\xe9\n", "no table in UTF-8"),
        (b"file,text\n", "lacks the column caption"),
    ],
)
def test_captions_that_do_not_tell_are_refused(namesakes, content, words):
    folder, entries = namesakes
    (folder / "captions.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_captions(folder, entries)


def test_names_become_words():
    assert words_of("oldChair_02-red") == "old chair red"
    assert words_of("007") == "007"


def test_what_is_missing_is_named(tiny_model, teachable, entries, tmp_path):
    with pytest.raises(MissingModel, match=r"ckpts/ss_enc_conv3d_16l8_fp16\.safetensors"):
        fine_tune(tiny_model, entries, tmp_path / "run", CPU, replace(CONFIG, parts=("structure_flow",)))
    with pytest.raises(MissingModel, match=r"ckpts/slat_enc_swin8_B_64l8_fp16\.safetensors"):
        fine_tune(tiny_model, entries, tmp_path / "other", CPU, replace(CONFIG, parts=("latent_flow",)))
    with pytest.raises(UserError, match="lifting"):
        fine_tune(teachable, entries, tmp_path / "run", CPU, replace(CONFIG, parts=("lifting",)))


def test_a_broken_mesh_is_left_out(teachable, entries, tmp_path, caplog):
    (tmp_path / "data" / "broken.stl").write_bytes(b"solid nothing")
    config = replace(CONFIG, steps=1, parts=("structure_flow",), pictures=1)
    preparation = Preparation(open_folder(teachable), entries, tmp_path / "prepared", CPU, config)
    preparation.entries = read_catalogue(tmp_path / "data")
    preparation.structures()
    assert preparation.entries == entries
    assert "broken" in caplog.text


def test_features_are_looked_up_where_a_voxel_is_drawn():
    place = np.array([0.3, -0.2, 0.25])
    ball = sphere(0.05)
    item = replace(ball, vertices=ball.vertices + place)
    views = feature_views(6, np.random.default_rng(0)) + picture_views(6, np.random.default_rng(0))
    for view in views:
        rows, columns = np.nonzero(render_whole(turned_mesh(item, view.azimuth), view, 200).alpha > 0.5)
        drawn = np.array([columns.mean(), rows.mean()]) + 0.5
        expected = (voxel_places(place[None], view)[0] + 1) / 2 * 200
        assert np.abs(drawn - expected).max() < 1.5


def test_cameras_look_from_all_sides_mostly_from_above():
    views = feature_views(150, np.random.default_rng(1))
    assert 0.2 < np.mean([view.elevation < 0 for view in views]) < 0.3
    assert max(view.elevation for view in views) > 1.3 and min(view.elevation for view in views) < -1.2


def test_the_published_structure_flow_takes_a_step_at_its_full_size():
    """On the meta device: every shape is computed and no number."""
    checkpoint = published_configuration("TRELLIS-image-large")["checkpoints"]["sparse_structure_flow_model"]
    with torch.device("meta"):
        module = build_model(checkpoint["name"], checkpoint["args"] | {"use_checkpoint": True}).train()
        module.to("meta")  # its positions are numbers
        batch = StructureExamples(
            torch.empty(2, 1374, 1024, dtype=torch.float16),
            torch.empty(2, 8, 16, 16, 16),
            torch.empty(1, 1374, 1024, dtype=torch.float16),
        )
    part = structure_flow_part(module, lambda number: batch, FlowTraining())
    loss, _ = part.loss(batch, torch.Generator())
    loss.backward()
    assert sum(p.numel() for p in module.parameters()) == 555_543_560
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_published_latent_flow_takes_a_step_at_its_full_width(tmp_path):
    checkpoint = published_configuration("TRELLIS-image-large")["checkpoints"]["slat_flow_model"]
    arguments = checkpoint["args"] | {"use_checkpoint": True, "num_blocks": 1, "use_fp16": False}
    module = build_model(checkpoint["name"], arguments).train()
    coords = torch.tensor(np.argwhere(np.ones((3, 3, 3))), dtype=torch.int32)
    tokens, null = torch.randn(1, 40, 1024).half(), torch.zeros(1, 40, 1024).half()
    batch = LatentExamples(tokens, (coords,), (torch.randn(27, 8),), null)
    part = latent_flow_part(module, lambda number: batch, FlowTraining())
    trainer = Trainer(part, LoopConfig(steps=2, learning_rate=1e-4, warm_up=1), tmp_path)
    before = module.out_layer.weight.clone()
    assert torch.isfinite(trainer.train_step(batch)["loss"])
    assert not torch.equal(before, module.out_layer.weight)


def test_the_command_teaches_in_pieces(entries, tmp_path, capsys):
    words = ["--data", str(tmp_path / "data"), "--from", str(write_tiny_starter(tmp_path / "starter"))]
    words += ["--out", str(tmp_path / "run"), "--export", str(tmp_path / "taught"), "--device", "cpu"]
    words += ["--steps", "2", "--pictures", "2", "--threads", "1"]
    assert main([*words, "--piece-minutes", "0"]) == 0
    assert "goes on" in capsys.readouterr().out
    assert main(words) == 0
    assert "taught is the fine-tuned model; loss before and after: lifting" in capsys.readouterr().out
    assert open_folder(tmp_path / "taught").image_cond_model == "ckpts/image_encoder"


def test_the_text_model_of_codes_is_sent_to_its_own_recipe():
    with pytest.raises(UserError, match="starter-text cannot be trained further.*--recipe starter-text"):
        FineTuneConfig().parts_of(open_folder("starter-text"))
