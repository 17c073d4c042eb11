"""A structure flow that sees what the encoder guesses, cell by cell, and learns the remainder.

The published flow hears of the picture through cross-attention alone, and so has to learn where things are.
This one gets the encoder's volume at its place, and what a region edit keeps. From the volume it also tells
how sure the guess is: a normal distribution of every number of the latent. The velocity that carries noise to
that distribution is known in closed form, and the transformer corrects it, as far as there is doubt.
B batch · C channels · R resolution.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from backend.config import require
from backend.models.flow_transformer import Context, FlowConfig, TimeModulation
from backend.models.network import zero_
from backend.models.sparse_structure_flow import SparseStructureFlowModel

_LEAST, _MOST = -7.0, 1.0  # logarithm of the variance; latents have a deviation of about 1
_FIRST = -1.0


@dataclass(frozen=True)
class AlignedFlowConfig(FlowConfig):
    """aligned_channels: of the encoder's volume, which has the flow's resolution and begins with the guessed
    latent. prior_channels: between the volume and the distribution that is read from it.
    """

    aligned_channels: int = 72
    prior_channels: int = 64


class AlignedStructureFlowModel(SparseStructureFlowModel):
    """As the published flow, but its input layer reads, channel by channel: the noisy latent · the encoder's
    volume, 0 for guidance's null · the latent to keep, 0 where free · 1 where kept · mean and variance.
    """

    Config = AlignedFlowConfig
    config: AlignedFlowConfig

    def __init__(self, config: AlignedFlowConfig):
        super().__init__(config)
        latent, volume = config.in_channels, config.aligned_channels
        require(volume >= latent, f"{type(self).__name__}: aligned_channels must hold a guessed latent.")
        require(config.out_channels == latent, f"{type(self).__name__}: out_channels must be in_channels.")
        self.input_layer = nn.Linear((4 * latent + volume + 1) * config.patch_size**3, config.model_channels)
        nn.init.xavier_uniform_(self.input_layer.weight)
        nn.init.zeros_(self.input_layer.bias)
        hidden = config.prior_channels
        self.prior_head = nn.Sequential(
            nn.Conv3d(volume, hidden, 1), nn.SiLU(), nn.Conv3d(hidden, 2 * latent, 1)
        )
        zero_(self.prior_head[-1])
        nn.init.constant_(self.prior_head[-1].bias[latent:], _FIRST)

    def prior(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, in_channels, R, R, R) of the latent by the volume alone."""
        change, spread = self.prior_head(volume).float().chunk(2, dim=1)
        return volume[:, : self.config.in_channels].float() + change, spread.clamp(_LEAST, _MOST).exp()

    def aligned_context(
        self, cond: Tensor, volume: Tensor | None, data: Tensor | None = None, kept: Tensor | None = None
    ) -> Context:
        """Condition (B, Lc, cond_channels), volume (B, aligned_channels, R, R, R) or None for none, and of a
        latent `data` (B, in_channels, R, R, R) the cells where `kept` (B, 1, R, R, R) is 1.
        """
        size, latent = (self.config.resolution,) * 3, self.config.in_channels
        if volume is None:
            volume = cond.new_zeros(len(cond), self.config.aligned_channels, *size)
        known = volume.new_zeros(len(volume), latent + 1, *size)
        if data is not None and kept is not None:
            known = torch.cat([data * kept, kept.to(data.dtype).expand(len(data), -1, *size)], dim=1)
        mean, variance = self.prior(volume)
        aligned = torch.cat([volume, known.to(volume.dtype), mean.detach(), variance.detach()], dim=1)
        return replace(self.context(cond), aligned=aligned)

    def forward(self, x: Tensor, t: Tensor | TimeModulation, context: Context) -> Tensor:
        """x (B, in_channels, R, R, R), t as the published flow takes it, an `aligned_context` -> velocity."""
        time = self.embed_time(t)
        assert context.aligned is not None and time.t is not None
        beside = context.aligned.to(x.dtype).expand(len(x), -1, -1, -1, -1)
        correction = super().forward(torch.cat([x, beside], dim=1), time, context)
        mean, variance = beside[:, -2 * self.config.in_channels :].chunk(2, dim=1)
        t = time.t.to(x.dtype).view(-1, 1, 1, 1, 1)
        # x is normal with mean (1 − t)·m and this variance, and so is all that x tells of data and noise.
        total = (1 - t) ** 2 * variance + t**2
        known = (x - (1 - t) * mean) * (t - (1 - t) * variance) / total - mean
        return known + (variance / total).sqrt() * correction
