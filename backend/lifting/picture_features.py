"""Features of a picture from a network that has learned photographs: EfficientNet-Lite0, no classifier.

EfficientNet: Tan and Le, 2019 (arXiv 1905.11946); the Lite variant has ReLU6 and no squeeze-and-excitation.
Every normalisation is folded into its convolution. B batch · C channels · S picture size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """`repeats` blocks of `channels` with depthwise kernels of `kernel`; the first one has `stride`."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
SHOWN = {4: 40, 10: 112, 15: 320}  # block whose features are handed out -> its channels, at S/8, S/16, S/32


class PictureFeatures(nn.Module):
    """`forward` takes colours (B, 3, S, S) in [0, 1] -> maps at S/8, S/16 and S/32 (B, 40 | 112 | 320, …)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList()
        channels = STEM
        for stage in STAGES:
            for index in range(stage.repeats):
                self.blocks.append(InvertedResidual(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels

    def forward(self, colors: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(_padded(colors * 2 - 1, 3, 2)))
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in SHOWN:
                maps.append(x)
        return maps


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; beside a skip where the shape stays."""

    def __init__(self, channels: int, stage: Stage, stride: int):
        super().__init__()
        wide = channels * stage.expansion
        self.expand = nn.Conv2d(channels, wide, 1) if wide != channels else None
        self.depthwise = nn.Conv2d(wide, wide, stage.kernel, stride=stride, groups=wide)
        self.project = nn.Conv2d(wide, stage.channels, 1)
        self.skips = stride == 1 and channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.expand is None else F.relu6(self.expand(x))
        kernel, stride = self.depthwise.kernel_size[0], self.depthwise.stride[0]
        h = self.project(F.relu6(self.depthwise(_padded(h, kernel, stride))))
        return x + h if self.skips else h


def _padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """As these weights were trained: what cannot be shared out evenly goes right and below."""
    size = x.shape[-1]
    room = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return F.pad(x, (room // 2, room - room // 2) * 2)
