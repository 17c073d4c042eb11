"""The CLIP text tower with a tiny random network and a tiny tokenizer, in the layouts that are published."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_clip import write_tiny_clip

from backend.errors import UserError
from backend.models.clip_text import ClipText, load_text_encoder

WIDTH = 32
NAME = "openai/clip-vit-large-patch14"


@pytest.fixture
def folder(tmp_path):
    return write_tiny_clip(tmp_path / "clip-vit-large-patch14", WIDTH)


def load(folder) -> ClipText:
    return load_text_encoder(folder.parent / "model", NAME, (folder.parent,))


def test_tokens_are_start_words_end_and_filling(folder):
    encoder = load(folder)
    ids = encoder.token_ids(["A  cat", ""])
    start, end = encoder.config.vocab_size - 2, encoder.config.vocab_size - 1
    vocabulary = json.loads((folder / "vocab.json").read_text())
    assert ids.shape == (2, 77) and ids.dtype == torch.int64
    assert ids[0, :4].tolist() == [start, vocabulary["a</w>"], vocabulary["cat</w>"], end]
    assert ids[1, 0] == start
    # The published tokenizer fills with the end token, not with the pad id of config.json.
    assert (ids[0, 3:] == end).all() and (ids[1, 1:] == end).all()


def test_a_long_sentence_is_cut_and_still_ends(folder):
    encoder = load(folder)
    ids = encoder.token_ids(["cat " * 200])
    assert ids.shape == (1, 77)
    assert ids[0, -1] == encoder.config.vocab_size - 1


def test_tokens_equal_the_networks_by_hand(folder):
    """Embeddings, two causal blocks, final norm: computed here from the file's tensors."""
    encoder = load(folder)
    weights = {k.removeprefix("text_model."): v for k, v in load_file(folder / "model.safetensors").items()}

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(x, name):
        return torch.nn.functional.layer_norm(
            x, (WIDTH,), weights[name + ".weight"], weights[name + ".bias"], eps=1e-5
        )

    ids = encoder.token_ids(["a cat"])[0]
    x = weights["embeddings.token_embedding.weight"][ids] + weights["embeddings.position_embedding.weight"]
    mask = torch.full((77, 77), float("-inf")).triu(1)
    for layer in ("encoder.layers.0", "encoder.layers.1"):
        y = norm(x, f"{layer}.layer_norm1")
        q, k, v = (
            linear(y, f"{layer}.self_attn.{p}_proj").view(77, 4, WIDTH // 4).transpose(0, 1) for p in "qkv"
        )
        attention = (q @ k.transpose(1, 2) / (WIDTH // 4) ** 0.5 + mask).softmax(-1)
        x = x + linear((attention @ v).transpose(0, 1).reshape(77, WIDTH), f"{layer}.self_attn.out_proj")
        y = linear(norm(x, f"{layer}.layer_norm2"), f"{layer}.mlp.fc1")
        x = x + linear(y * torch.sigmoid(1.702 * y), f"{layer}.mlp.fc2")
    with torch.no_grad():
        assert torch.allclose(encoder(["a cat"])[0], norm(x, "final_layer_norm"), atol=2e-5)


def test_null_is_the_empty_sentence_computed_once(folder):
    encoder = load(folder)
    null = encoder.null()
    assert null.shape == (1, 77, WIDTH)
    assert torch.equal(null, encoder([""]))
    assert encoder.null() is null
    assert not torch.allclose(null, encoder(["cat"]))


def test_text_tower_alone_loads_the_same(folder):
    whole = load(folder)(["cat"])
    tensors = load_file(folder / "model.safetensors")
    text_only = {k.removeprefix("text_model."): v for k, v in tensors.items() if k.startswith("text_model.")}
    save_file(text_only, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())["text_config"]
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "clip_text_model"}))
    assert torch.equal(load(folder)(["cat"]), whole)


@pytest.mark.parametrize(
    ("remove", "words"),
    [
        ("model.safetensors", "merges.txt of openai/clip-vit-large-patch14"),
        ("config.json", "config.json"),
        ("merges.txt", "has no tokenizer"),
    ],
)
def test_a_missing_file_is_named(folder, remove, words):
    (folder / remove).unlink()
    with pytest.raises(UserError, match=words):
        load(folder)


def test_foreign_weights_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_model.final_layer_norm.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="final_layer_norm.bias is missing"):
        load(folder)


def test_another_kind_of_model_is_refused(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(UserError, match="'t5' instead of CLIP"):
        load(folder)
