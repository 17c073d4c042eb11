"""The text model that comes with the software: whole, small, and able to make a shape of a sentence."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from test_starter import CPU, STARTER
from torch import Tensor

from backend.checkpoints.find_model import WEIGHTS
from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.model_info import model_info
from backend.edit import options_of, repeated_guide
from backend.errors import UserError
from backend.generate import main
from backend.lifting.known_words import KnownWords
from backend.lifting.solid import BORDER
from backend.models.minilm_text import PACKAGE, load_sentence_encoder
from backend.trellis.conditioning import load_conditioner

FOLDER = WEIGHTS / "starter-text"
NEEDS_WORDS = pytest.mark.skipif(
    not importlib.util.find_spec(PACKAGE.replace("-", "_")), reason=f"no {PACKAGE} here"
)
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the text model is not bundled")


def test_it_is_whole_and_small_and_borrows_the_decoders():
    folder = open_folder("starter-text")  # verifies every sum
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 14e6
    assert folder.models["slat_decoder_mesh"].parent == STARTER / "ckpts"
    assert folder.slat_normalization == open_folder("starter").slat_normalization
    assert "CC-BY" in (FOLDER / "ATTRIBUTION.md").read_text() and (FOLDER / "LICENSE").is_file()
    assert model_info(folder).takes == ("text",) and model_info(open_folder("starter")).takes == ("pictures",)


@NEEDS_WORDS
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sentence_becomes_files(precision, tmp_path):
    arguments = ["--prompt", "a chair", "--model", "starter-text", "--output", str(tmp_path)]
    assert main([*arguments, *CPU, precision]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".glb", ".ply", ".safetensors"}


def test_a_sentence_for_the_picture_model_is_sent_to_the_text_model(tmp_path, capsys):
    assert main(["--prompt", "a chair", "--model", "starter", "--output", str(tmp_path)]) == 2
    assert "starter-text" in capsys.readouterr().out


@pytest.fixture(scope="module")
def conditioner():
    return load_conditioner(open_folder("starter-text"), torch.device("cpu"))


def _solid(conditioner, sentence: str, seed: int = 1) -> tuple[Tensor, Tensor]:
    """The voxels (R, R, R) bool that the guess says lie inside, and the mean colour (3,) round its border."""
    guess = conditioner.from_text(sentence, seed).solid
    inside = guess.inside > BORDER
    filled = F.max_pool3d(inside[None, None].float(), 2)[0, 0] > 0
    return inside, guess.colors[:, filled].mean(1)


@NEEDS_WORDS
@pytest.mark.parametrize("seed", [1, 2])
def test_objects_have_the_proportions_of_what_is_named(conditioner, seed):
    def spread(sentence: str) -> Tensor:
        return _solid(conditioner, sentence, seed)[0].nonzero().float().std(0)

    sword, lamp, car = (spread(f"a {name}") for name in ("sword", "lamp", "car"))
    assert sword[2] > 4 * sword[:2].max() and lamp[2] > 1.5 * lamp[:2].max() and car[2] < 0.7 * car[1]


@NEEDS_WORDS
def test_a_named_colour_is_that_of_the_object(conditioner):
    for sentence, channel in (("a red chair", 0), ("a green bottle", 1), ("a blue car", 2)):
        color = _solid(conditioner, sentence)[1]
        others = torch.cat([color[:channel], color[channel + 1 :]])
        assert color[channel] > others.max() + 0.3, sentence


@NEEDS_WORDS
def test_another_seed_is_another_object_of_the_name(conditioner):
    one, same, other = (_solid(conditioner, "a chair", seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert (one & other).sum() < 0.8 * (one | other).sum()


def test_the_same_sentence_may_guide_an_edit_again():
    wanted = options_of("edit", "").parse_args(["a.safetensors", "--output", "out", "--prompt", "a car"])
    assert repeated_guide(wanted) == ""  # another seed is another car
    assert "seed" not in model_info(open_folder("starter-text")).without_effect


@pytest.fixture(scope="module")
def known():
    return KnownWords.of_folder(FOLDER, load_sentence_encoder(FOLDER))


@NEEDS_WORDS
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


@NEEDS_WORDS
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


@NEEDS_WORDS
def test_nonsense_makes_no_files(tmp_path, capsys):
    assert main(["--prompt", "qwertz", "--model", "starter-text", "--output", str(tmp_path)]) == 2
    assert "knows nothing of 'qwertz'" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
