"""Flows that see what the encoder guesses, place by place, and learn the remainder.

The published flows hear of the picture through cross-attention alone, and so have to learn where things are.
These get at each place what the encoder says of it, and what a region edit keeps. From that they also tell
how sure the guess is: a normal distribution of every number of the latent. The velocity that carries noise to
that distribution is known in closed form, and the transformer corrects it, as far as there is doubt.
B batch · L voxels · C channels · R resolution.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from backend.config import require
from backend.models.flow_transformer import Context, FlowConfig, TimeModulation
from backend.models.network import zero_
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import FlowStructure, SLatFlowConfig, SLatFlowModel

_LEAST, _MOST = -7.0, 1.0  # logarithm of the variance; latents have a deviation of about 1
_FIRST = -1.0


@dataclass(frozen=True)
class AlignedFlowConfig(FlowConfig):
    """aligned_channels: of what the encoder says at a place, which begins with the guessed latent.
    prior_channels: between that and the distribution that is read from it.
    """

    aligned_channels: int = 72
    prior_channels: int = 64


@dataclass(frozen=True)
class AlignedLatentFlowConfig(SLatFlowConfig):
    """As above."""

    aligned_channels: int = 73
    prior_channels: int = 64


class AlignedStructureFlowModel(SparseStructureFlowModel):
    """As the published flow, but its input layer reads, channel by channel: the noisy latent · the encoder's
    volume, 0 for guidance's null · the latent to keep, 0 where free · 1 where kept · mean and variance.
    """

    Config = AlignedFlowConfig
    config: AlignedFlowConfig

    def __init__(self, config: AlignedFlowConfig):
        super().__init__(config)
        inputs = _inputs(config, type(self).__name__) * config.patch_size**3
        self.input_layer = _input_layer(inputs, config.model_channels)
        latent, volume, hidden = config.in_channels, config.aligned_channels, config.prior_channels
        self.prior_head = nn.Sequential(
            nn.Conv3d(volume, hidden, 1), nn.SiLU(), _doubtful(nn.Conv3d(hidden, 2 * latent, 1))
        )

    def prior(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, in_channels, R, R, R) of the latent by the volume alone."""
        return _prior(self.prior_head, volume, self.config.in_channels)

    def aligned_context(
        self, cond: Tensor, volume: Tensor | None, data: Tensor | None = None, kept: Tensor | None = None
    ) -> Context:
        """Condition (B, Lc, cond_channels), volume (B, aligned_channels, R, R, R) or None for none, and of a
        latent `data` (B, in_channels, R, R, R) the cells where `kept` (B, 1, R, R, R) is 1.
        """
        if volume is None:
            volume = cond.new_zeros(len(cond), self.config.aligned_channels, *(self.config.resolution,) * 3)
        aligned = _aligned(volume, self.prior(volume), data, kept)
        return replace(self.context(cond), aligned=aligned)

    def forward(self, x: Tensor, t: Tensor | TimeModulation, context: Context) -> Tensor:
        """x (B, in_channels, R, R, R), t as the published flow takes it, an `aligned_context` -> velocity."""
        time = self.embed_time(t)
        beside = _beside(context, x)
        correction = super().forward(torch.cat([x, beside], dim=1), time, context)
        return _corrected(correction, x, beside, time)


class AlignedSLatFlowModel(SLatFlowModel):
    """As the published flow, but its input layer reads of every voxel: the noisy latent · what the encoder
    says of it, 0 for guidance's null · the latent to keep, 0 where free · 1 where kept · mean and variance.
    """

    Config = AlignedLatentFlowConfig
    config: AlignedLatentFlowConfig

    def __init__(self, config: AlignedLatentFlowConfig):
        super().__init__(config)
        self.input_layer = _input_layer(_inputs(config, type(self).__name__), self.input_layer.out_features)
        latent, given, hidden = config.in_channels, config.aligned_channels, config.prior_channels
        self.prior_head = nn.Sequential(
            nn.Linear(given, hidden), nn.SiLU(), _doubtful(nn.Linear(hidden, 2 * latent))
        )

    def prior(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (L, in_channels) of the latents by what is given of each voxel alone."""
        return _prior(self.prior_head, given, self.config.in_channels)

    def on_voxels(
        self, context: Context, given: Tensor, data: Tensor | None = None, kept: Tensor | None = None
    ) -> Context:
        """A context with what is given of the voxels (L, aligned_channels), zeros for nothing, and of latents
        `data` (L, in_channels) those where `kept` (L, 1) is 1.
        """
        return replace(context, aligned=_aligned(given, self.prior(given), data, kept))

    def forward(
        self, feats: Tensor, t: Tensor | TimeModulation, context: Context, structure: FlowStructure
    ) -> Tensor:
        """As the published flow, under a context that is `on_voxels`."""
        time = self.embed_time(t)
        beside = _beside(context, feats)
        correction = super().forward(torch.cat([feats, beside], dim=1), time, context, structure)
        return _corrected(correction, feats, beside, time)


def _inputs(config: AlignedFlowConfig | AlignedLatentFlowConfig, name: str) -> int:
    """Channels that the input layer reads of a place."""
    latent, given = config.in_channels, config.aligned_channels
    require(given >= latent, f"{name}: aligned_channels must hold a guessed latent.")
    require(config.out_channels == latent, f"{name}: out_channels must be in_channels.")
    return 4 * latent + given + 1


def _input_layer(channels_in: int, channels: int) -> nn.Linear:
    layer = nn.Linear(channels_in, channels)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _doubtful(layer: nn.Linear | nn.Conv3d) -> nn.Linear | nn.Conv3d:
    """The last layer of a prior, which begins with the guess itself and some doubt."""
    zero_(layer)
    assert layer.bias is not None
    nn.init.constant_(layer.bias[len(layer.bias) // 2 :], _FIRST)
    return layer


def _prior(head: nn.Module, given: Tensor, latent: int) -> tuple[Tensor, Tensor]:
    change, spread = head(given).float().chunk(2, dim=1)
    return given[:, :latent].float() + change, spread.clamp(_LEAST, _MOST).exp()


def _aligned(given: Tensor, prior: tuple[Tensor, Tensor], data: Tensor | None, kept: Tensor | None) -> Tensor:
    mean, variance = prior
    known = torch.cat([torch.zeros_like(mean), torch.zeros_like(mean[:, :1])], dim=1)
    if data is not None and kept is not None:
        known = torch.cat([data * kept, kept.to(data.dtype).expand(len(data), *kept.shape[1:])], dim=1)
    return torch.cat([given, known.to(given.dtype), mean.detach(), variance.detach()], dim=1)


def _beside(context: Context, x: Tensor) -> Tensor:
    assert context.aligned is not None
    return context.aligned.to(x.dtype).expand(len(x), *context.aligned.shape[1:])


def _corrected(correction: Tensor, x: Tensor, beside: Tensor, time: TimeModulation) -> Tensor:
    """The velocity: what is known of it, and the transformer's part."""
    assert time.t is not None
    mean, variance = beside[:, -2 * x.shape[1] :].chunk(2, dim=1)
    t = time.t.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    # x is normal with mean (1 − t)·m and this variance, and so is all that x tells of data and noise.
    total = (1 - t) ** 2 * variance + t**2
    known = (x - (1 - t) * mean) * (t - (1 - t) * variance) / total - mean
    return known + (variance / total).sqrt() * correction
