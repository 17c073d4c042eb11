"""Which objects a sentence may mean: a small flow whose data are the codes of whole objects.

Many objects answer to one sentence, and their mean is none of them; a flow draws one (rectified flow as in
arXiv 2412.01506 §3.3, classifier-free guidance). B batch · K numbers of a code · C channels of a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.layers.embedding import TimestepEmbedder
from backend.models.network import zero_
from backend.sampling import SamplerSettings, flow_euler, guided, timesteps


@dataclass(frozen=True)
class CodePriorConfig:
    """Sizes, and how a code is drawn: Euler steps, and guidance towards the sentence."""

    channels: int = 320
    num_blocks: int = 3
    steps: int = 24
    guidance: float = 0.5


class _Block(nn.Module):
    """A residual perceptron, modulated by time and sentence."""

    def __init__(self, channels: int):
        super().__init__()
        self.modulation = nn.Linear(channels, 3 * channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)
        zero_(self.modulation)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(F.silu(given)).chunk(3, dim=-1)
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        return x + gate * self.narrow(F.silu(self.widen(h)))


class CodePrior(nn.Module):
    """See the module docstring. A sentence of zeros stands for none."""

    def __init__(self, code: int, sentence: int, config: CodePriorConfig):
        super().__init__()
        self.config = config
        self.input = nn.Linear(code, config.channels)
        self.time = TimestepEmbedder(config.channels)
        self.sentence = nn.Linear(sentence, config.channels)
        self.blocks = nn.ModuleList(_Block(config.channels) for _ in range(config.num_blocks))
        self.output = nn.Linear(config.channels, code)
        zero_(self.output)

    def forward(self, x: Tensor, t: Tensor, sentence: Tensor) -> Tensor:
        """Velocity (B, K) of codes x (B, K) at the times t (B,), which are multiplied by 1000."""
        given = self.time(t) + self.sentence(sentence)
        h = self.input(x)
        for block in self.blocks:
            h = block(h, given)
        return self.output(F.layer_norm(h, h.shape[-1:]))

    @torch.no_grad()
    def draw(self, sentence: Tensor, noise: Tensor) -> Tensor:
        """A code for each sentence (B, C), from noise (B, K)."""
        settings = SamplerSettings(self.config.steps, cfg_strength=self.config.guidance)
        velocity = guided(self, [sentence], torch.zeros_like(sentence), settings)
        return flow_euler(velocity, noise, timesteps(settings.steps))
