"""The text model that comes with the software: whole, small, and able to make a shape of a sentence."""

import importlib.util

import pytest
from test_starter import CPU, STARTER

from backend.checkpoints.find_model import WEIGHTS
from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.model_info import model_info
from backend.errors import UserError
from backend.generate import main
from backend.lifting.known_words import KnownWords
from backend.models.minilm_text import PACKAGE, load_sentence_encoder

FOLDER = WEIGHTS / "starter-text"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the text model is not bundled")


def test_it_is_whole_and_small_and_borrows_the_decoders():
    folder = open_folder("starter-text")  # verifies every sum
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 13e6
    assert folder.models["slat_decoder_mesh"].parent == STARTER / "ckpts"
    assert folder.slat_normalization == open_folder("starter").slat_normalization
    assert "CC-BY" in (FOLDER / "ATTRIBUTION.md").read_text() and (FOLDER / "LICENSE").is_file()
    assert model_info(folder).takes == ("text",) and model_info(open_folder("starter")).takes == ("pictures",)


@pytest.mark.skipif(not importlib.util.find_spec(PACKAGE.replace("-", "_")), reason=f"no {PACKAGE} here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sentence_becomes_files(precision, tmp_path):
    arguments = ["--prompt", "a chair", "--model", "starter-text", "--output", str(tmp_path)]
    assert main([*arguments, *CPU, precision]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".glb", ".ply", ".safetensors"}


def test_a_sentence_for_the_picture_model_is_sent_to_the_text_model(tmp_path, capsys):
    assert main(["--prompt", "a chair", "--model", "starter", "--output", str(tmp_path)]) == 2
    assert "starter-text" in capsys.readouterr().out


@pytest.fixture(scope="module")
def known():
    return KnownWords.of_folder(FOLDER, load_sentence_encoder(FOLDER))


@pytest.mark.skipif(not importlib.util.find_spec(PACKAGE.replace("-", "_")), reason=f"no {PACKAGE} here")
@pytest.mark.parametrize(
    "sentence",
    [
        "a red chair",
        "small wooden table",
        "two green trees",
        "fire truck",
        "Knives!",
        "an automobile",
        "SOFA",
    ],
)
def test_what_it_knows_is_made(known, sentence):
    known.check(sentence)


@pytest.mark.skipif(not importlib.util.find_spec(PACKAGE.replace("-", "_")), reason=f"no {PACKAGE} here")
@pytest.mark.parametrize(
    "sentence",
    [
        "asdfgh",
        "justice",
        "the meaning of life",
        "ein roter Stuhl",
        "une chaise",
        "椅子",
        "красный стул",
        "123",
    ],
)
def test_what_it_knows_nothing_of_is_named_with_words_that_it_knows(known, sentence):
    with pytest.raises(UserError, match=f"knows nothing of '{sentence}'.*tree.*chair"):
        known.check(sentence)


@pytest.mark.skipif(not importlib.util.find_spec(PACKAGE.replace("-", "_")), reason=f"no {PACKAGE} here")
def test_nonsense_makes_no_files(tmp_path, capsys):
    assert main(["--prompt", "qwertz", "--model", "starter-text", "--output", str(tmp_path)]) == 2
    assert "knows nothing of 'qwertz'" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
