"""Pretrained features: folded weights, where the encoder uses them, and how they are stored."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from training_recipe import tiny_recipe

from backend.checkpoints.eight_bits import packed, unpacked
from backend.checkpoints.weights import read_model, write_model
from backend.errors import UserError
from backend.lifting.image_encoder import LiftingImageEncoder
from backend.lifting.picture_features import PictureFeatures
from backend.training.starter import pretrained


@pytest.fixture
def guided() -> LiftingImageEncoder:
    torch.manual_seed(0)
    return LiftingImageEncoder(replace(tiny_recipe().lifting, pretrained_features=True)).eval()


def package_state(features: PictureFeatures) -> dict[str, Tensor]:
    """Weights by the package's names, their normalisations apart."""
    generator = torch.Generator().manual_seed(1)
    state: dict[str, Tensor] = {}

    def add(conv: nn.Conv2d, name: str, norm: str) -> None:
        state[f"{name}.weight"] = torch.randn(conv.weight.shape, generator=generator)
        for kind in ("weight", "bias", "running_mean"):
            state[f"{norm}.{kind}"] = torch.randn(conv.out_channels, generator=generator)
        state[f"{norm}.running_var"] = torch.rand(conv.out_channels, generator=generator) + 0.5

    add(features.stem, "_conv_stem", "_bn0")
    for number, block in enumerate(features.blocks):
        place = f"_blocks.{number}."
        if block.expand is not None:
            add(block.expand, f"{place}_expand_conv", f"{place}_bn0")
        add(block.depthwise, f"{place}_depthwise_conv", f"{place}_bn1")
        add(block.project, f"{place}_project_conv", f"{place}_bn2")
    return state


def test_normalisations_are_folded_into_their_convolutions(tmp_path: Path) -> None:
    features = PictureFeatures().eval()
    state = package_state(features)
    torch.save(state, tmp_path / "weights.pth")
    pretrained.fill_features(features, tmp_path / "weights.pth")

    def step(x: Tensor, conv: str, norm: str, groups: int = 1, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)

    colors = torch.rand(1, 3, 16, 16)
    # Of stride 2 and an even size a kernel of 3 lacks one row and column, below and to the right.
    stem = F.relu6(step(F.pad(colors * 2 - 1, (0, 1, 0, 1)), "_conv_stem", "_bn0", stride=2))
    deep = step(F.pad(stem, (1, 1, 1, 1)), "_blocks.0._depthwise_conv", "_blocks.0._bn1", groups=32)
    expected = step(F.relu6(deep), "_blocks.0._project_conv", "_blocks.0._bn2")
    found = features.blocks[0](F.relu6(features.stem(F.pad(colors * 2 - 1, (0, 1, 0, 1)))))
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_features_come_at_an_eighth_a_sixteenth_and_a_thirty_second() -> None:
    maps = PictureFeatures()(torch.rand(1, 3, 64, 64))
    assert [tuple(one.shape[1:]) for one in maps] == [(40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_before_it_learns_the_encoder_is_as_without_them(guided: LiftingImageEncoder) -> None:
    plain = LiftingImageEncoder(replace(guided.config, pretrained_features=False)).eval()
    plain.load_state_dict(
        {key: value for key, value in guided.state_dict().items() if not key.startswith("guide.")}
    )
    picture = torch.rand(1, 4, 64, 64)
    small = F.interpolate(picture, size=(32, 32), mode="bilinear", antialias=True)
    assert torch.allclose(guided(picture).tokens, plain(small).tokens, atol=1e-5)


def test_what_the_features_say_reaches_the_volume(guided: LiftingImageEncoder) -> None:
    picture = torch.rand(1, 4, 64, 64)
    before = guided.lift(picture)[1][-1]
    nn.init.normal_(guided.guide.to_whole.weight)
    assert not torch.allclose(guided.lift(picture)[1][-1], before, atol=1e-3)


def test_weights_of_eight_bits_are_near_and_packed_again_the_same(
    guided: LiftingImageEncoder, tmp_path: Path
) -> None:
    state = guided.state_dict()
    small = packed(state)
    again = unpacked(state | small)
    for key in small:
        if small[key].dtype == torch.int8:
            rows, largest = (again[key] - state[key]).flatten(1), state[key].flatten(1).abs().amax(1)
            assert (rows.abs().amax(1) <= largest / 253).all()
            assert torch.equal(packed(again)[key], small[key])
    assert sum(value.numel() for value in small.values()) > 2.9e6
    write_model(guided, tmp_path / "encoder", half=True)
    stored = load_file(tmp_path / "encoder.safetensors")
    assert stored["guide.network.blocks.12.project.weight"].dtype == torch.int8
    picture = torch.rand(1, 4, 64, 64)
    difference = read_model(tmp_path / "encoder")(picture).structure_start - guided(picture).structure_start
    assert difference.abs().max() < 0.05


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install no-such-package"):
        pretrained.pretrained_file()
