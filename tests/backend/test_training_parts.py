"""Every part learns, resumes exactly, and leaves as a model folder that the pipeline opens."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_starter import write_tiny_starter
from training_recipe import tiny_recipe
from training_shapes import cube, save

from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.weights import read_model
from backend.errors import UserError
from backend.evaluation.prediction import reconstruct
from backend.geometry.mesh_files import Entry, read_catalogue
from backend.training.calibrate import SAMPLING
from backend.training.dataset import ObjectSource
from backend.training.export import attribution
from backend.training.loop import Trainer
from backend.training.starter.autoencoder_structure import StructureAutoencoder, fold_latent_scale
from backend.training.starter.finish import export
from backend.training.starter.networks import NETWORKS
from backend.training.starter.recipe import PARTS
from backend.training.starter.run import StarterRun
from backend.trellis.networks import Networks


@pytest.fixture
def source(tmp_path) -> ObjectSource:
    (tmp_path / "data").mkdir()
    save(cube(), tmp_path / "data" / "cube.npz")
    return ObjectSource(read_catalogue(tmp_path / "data"))


def _losses(part, config, folder, steps: int) -> list[float]:
    trainer = Trainer(part, config, folder)
    batch = part.batch(0)
    return [trainer.train_step(batch)["loss"] for _ in range(steps)]


@torch.no_grad()
def _loss(part) -> float:
    """The mean over times and noises that are always the same."""
    batch = part.batch(0)
    return sum(float(part.loss(batch, torch.Generator().manual_seed(n))[0]) for n in range(16)) / 16


@pytest.mark.parametrize("name", ["structure_autoencoder", "latent_autoencoder"])
def test_an_autoencoder_learns_one_object(name, source, tmp_path):
    torch.manual_seed(0)
    run = StarterRun(tiny_recipe(), source, tmp_path / "run")
    config = replace(run.recipe.loops[name], steps=1000)
    losses = _losses(run.part(name), config, tmp_path / "run", 25)
    assert sum(losses[-3:]) < 0.75 * sum(losses[:3])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> StarterRun:
    """A run in which every part has had its three steps."""
    folder = tmp_path_factory.mktemp("trained")
    save(cube(), folder / "cube.npz")
    torch.manual_seed(0)
    run = StarterRun(tiny_recipe(), ObjectSource(read_catalogue(folder)), folder / "run")
    for name in PARTS:
        run.train(name)
    return run


def test_lifting_and_flows_learn_one_object(trained, tmp_path):
    for name in ("lifting", "structure_flow", "latent_flow"):
        part = trained.part(name)
        config = replace(trained.recipe.loops[name], steps=1000)
        before = _loss(part)
        _losses(part, config, tmp_path / f"again_{name}", 25)
        assert _loss(part) < 0.97 * before, name


@pytest.mark.parametrize("name", ["structure_flow", "latent_flow"])
def test_a_flow_begins_with_the_whole_of_an_initial_models(name, source, tmp_path):
    starter = write_tiny_starter(tmp_path / "starter")
    run = StarterRun(tiny_recipe(prior_steps=1000), source, tmp_path / "run", initial=starter)
    ours = run.part(name).module.state_dict()
    given = read_model(starter / NETWORKS[name][""]).state_dict()
    assert all(torch.equal(ours[key], given[key]) for key in given)
    assert not list((tmp_path / "run").glob("*/*")), "no examples are made before it is trained"


def test_the_seed_and_the_name_decide_the_weights_that_a_part_begins_with(source, tmp_path):
    def weights(seed: int, drawn: int) -> torch.Tensor:
        torch.manual_seed(drawn)
        run = StarterRun(tiny_recipe(), ObjectSource(source.entries, seed), tmp_path / "run")
        return torch.nn.utils.parameters_to_vector(run.part("structure_autoencoder").module.parameters())

    assert torch.equal(weights(1, drawn=1), weights(1, drawn=2))
    assert not torch.equal(weights(1, drawn=1), weights(2, drawn=1))


def test_a_stopped_run_ends_like_one_that_was_not(source, tmp_path):
    recipe = tiny_recipe()
    config = recipe.loops["structure_autoencoder"]
    ends = []
    for folder, stops in (("whole", ()), ("stopped", (2,))):
        part = StarterRun(recipe, source, tmp_path / folder).part("structure_autoencoder")
        trainer = Trainer(part, config, tmp_path / folder)
        for step in stops:
            while trainer.step < step:
                trainer.train_step(part.batch(trainer.step))
            trainer.save()
            part = StarterRun(recipe, source, tmp_path / folder).part("structure_autoencoder")
            for parameter in part.module.parameters():  # to be replaced by the saved weights
                torch.nn.init.zeros_(parameter)
            trainer = Trainer(part, config, tmp_path / folder)
            assert trainer.step == step
        trainer.run()
        ends.append(load_file(trainer.path))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_training_writes_its_curve(trained):
    lines = (trained.folder / "lifting.csv").read_text().splitlines()
    assert lines[0].startswith("step,seconds,loss") and len(lines) == 4


def test_a_part_that_stands_on_an_untrained_one_says_so(source, tmp_path):
    with pytest.raises(UserError, match="structure_autoencoder"):
        StarterRun(tiny_recipe(), source, tmp_path / "run").part("lifting")
    with pytest.raises(UserError, match="no part"):
        StarterRun(tiny_recipe(), source, tmp_path / "run").part("nonsense")


def test_rescaled_latents_decode_to_the_same(source):
    torch.manual_seed(0)
    module = StructureAutoencoder(tiny_recipe()).eval()
    x = (torch.rand(1, 1, 16, 16, 16) > 0.9).float()
    before_latent = module.encode(x)
    before = module.decoder(before_latent)
    std = torch.linspace(0.5, 2, 8)
    fold_latent_scale(module, std)
    after_latent = module.encode(x)
    assert torch.allclose(after_latent * std.view(1, 8, 1, 1, 1), before_latent, atol=1e-5)
    assert torch.allclose(module.decoder(after_latent), before, atol=1e-4)


def test_the_exported_folder_is_whole_and_makes_a_mesh(trained, tmp_path):
    folder = tmp_path / "model"
    export(trained, folder, SAMPLING, occupancy_shift=8.0)  # untrained: make sure that something is occupied
    names = {path.name for path in folder.iterdir()}
    assert names >= {"pipeline.json", "LICENSE", "README.md", "ATTRIBUTION.md", "SHA256SUMS"}
    again = read_model(folder / "ckpts" / "ss_dec_conv3d_16l8")
    bias = trained.structure.decoder.out_layer[-1].bias
    assert again.out_layer[-1].bias.item() == pytest.approx(bias.item() + 8.0, abs=1e-3)
    settings = json.loads((folder / "pipeline.json").read_text())
    assert settings["args"]["slat_normalization"]["mean"] == trained.latents.mean.tolist()
    assert open_folder(folder).structure_sampler.strength == SAMPLING["sparse_structure_sampler"].strength

    from PIL import Image

    picture = Image.new("RGB", (518, 518))
    picture.paste((200, 80, 40), (100, 100, 400, 400))
    result = reconstruct(Networks.open(folder, torch.device("cpu"), torch.float32), picture)
    assert result.mesh is not None and result.gaussians is not None and len(result.gaussians.position) > 0


def test_a_damaged_export_is_refused(trained, tmp_path):
    folder = tmp_path / "model"
    export(trained, folder, SAMPLING, occupancy_shift=0.0)
    with (folder / "pipeline.json").open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match="pipeline.json"):
        open_folder(folder)


def test_attribution_credits_those_who_ask_for_it(tmp_path):
    free = Entry(tmp_path, "a", "1", licence="CC0-1.0", attribution="a by nobody")
    credited = Entry(tmp_path, "b", "2", licence="CC-BY-4.0", attribution="b by somebody")
    text = attribution((free, credited))
    assert "b by somebody" in text and "a by nobody" not in text
