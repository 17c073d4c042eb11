"""The sentence model: a tiny random one in the published layout, and the real one where it is installed."""

import importlib.util

import pytest
import torch
from tiny_minilm import WORDS, write_tiny_minilm

from backend.errors import MissingModel, UserError
from backend.models import minilm_text
from backend.models.minilm_text import PACKAGE, PUBLISHED, TOKENS, load_sentence_encoder

WIDTH = 16
INSTALLED = importlib.util.find_spec(PACKAGE.replace("-", "_")) is not None


@pytest.fixture
def folder(tmp_path):
    return write_tiny_minilm(tmp_path / PUBLISHED, WIDTH)


def load(folder):
    return load_sentence_encoder(folder.parents[2] / "model", PUBLISHED, (folder.parents[1],))


def test_a_sentence_is_words_and_their_mean(folder):
    encoder = load(folder)
    assert encoder.token_ids("A red Chairs!") == [
        WORDS.index(w) for w in ("[CLS]", "a", "red", "chair", "##s", "[UNK]", "[SEP]")
    ]
    tokens = encoder(["a red chair", ""])
    assert tokens.shape == (2, TOKENS, WIDTH)
    assert torch.allclose(tokens[0, 5:], tokens[0, :5].mean(0).expand(TOKENS - 5, -1), atol=1e-6)
    assert torch.equal(encoder.null(), encoder([""])) and encoder.null() is encoder.null()


def test_a_sentence_means_the_same_in_any_company(folder):
    encoder = load(folder)
    alone, beside = encoder(["a tree"])[0], encoder(["a tree", "a red red red red chair"])[0]
    assert torch.allclose(alone, beside, atol=1e-5)


def test_a_long_sentence_is_cut_and_still_ends(folder):
    encoder = load(folder)
    ids = encoder.token_ids("tree " * 200)
    assert len(ids) == TOKENS - 1 and ids[-1] == WORDS.index("[SEP]")
    assert encoder(["tree " * 200]).shape == (1, TOKENS, WIDTH)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(minilm_text.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingModel, match=PACKAGE):
        load_sentence_encoder(tmp_path, PUBLISHED, (tmp_path,))


def test_weights_of_another_network_are_refused(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(UserError, match=r"layer\.2.* is missing"):
        load(folder)
    (folder / "config.json").write_text(text.replace('"bert"', '"clip"'))
    with pytest.raises(UserError, match="not BERT"):
        load(folder)


def test_the_tiny_network_computes_what_transformers_computes(folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertModel.from_pretrained(str(folder), add_pooling_layer=False).eval()
    encoder = load(folder)
    ids = encoder.token_ids("a red chairs tree")
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).last_hidden_state[0]
    assert torch.allclose(encoder.words(["a red chairs tree"])[0], expected, atol=1e-5)


@pytest.mark.skipif(not INSTALLED, reason=f"the package {PACKAGE} is not installed")
def test_the_published_model_knows_what_is_alike(tmp_path):
    encoder = load_sentence_encoder(tmp_path)
    tokens = encoder(["a chair", "an armchair", "a red car", ""])
    assert tokens.shape == (4, TOKENS, 384)
    assert encoder.token_ids("a chair") == [101, 1037, 3242, 102]
    chair, armchair, car, _ = torch.nn.functional.normalize(tokens[:, -1], dim=-1)
    assert chair @ armchair > 0.6 > chair @ car
