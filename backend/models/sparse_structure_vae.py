"""Autoencoder of the sparse structure (paper 3.2): occupancy 64^3 <-> latent of 8 channels at 16^3.

Dense 3-D convolutions. Attribute names are dictated by the published checkpoints.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import require
from backend.layers.dense_conv import DenseConv3d
from backend.layers.norm import ChannelLayerNorm32, GroupNorm32
from backend.models.network import Network, zero_

GROUPS = 32


def output_norm(norm_type: str, channels: int) -> nn.Module:
    """The last norm; those inside the residual blocks are always over channels."""
    if norm_type == "group":
        require(
            channels % GROUPS == 0, f"norm_type group needs a multiple of {GROUPS} channels, not {channels}."
        )
        return GroupNorm32(GROUPS, channels)
    require(norm_type == "layer", f"norm_type must be layer or group, not {norm_type}.")
    return ChannelLayerNorm32(channels)


class ResBlock(nn.Module):
    """Two convolutions beside a skip: (B, C, X, Y, Z) -> (B, C', X, Y, Z)."""

    def __init__(self, channels: int, out_channels: int | None = None):
        super().__init__()
        out_channels = out_channels or channels
        self.norm1 = ChannelLayerNorm32(channels)
        self.norm2 = ChannelLayerNorm32(out_channels)
        self.conv1 = DenseConv3d(channels, out_channels, 3, padding=1)
        self.conv2 = DenseConv3d(out_channels, out_channels, 3, padding=1)
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv3d(channels, out_channels, 1)
        )
        zero_(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.skip_connection(x)


class Downsample(nn.Module):
    """Half the resolution: (B, C, 2X, 2Y, 2Z) -> (B, C', X, Y, Z)."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the resolution: (B, C, X, Y, Z) -> (B, C', 2X, 2Y, 2Z)."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv = DenseConv3d(channels, 8 * out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle_3d(self.conv(x))


def pixel_shuffle_3d(x: Tensor) -> Tensor:
    """Eight channels become the 2x2x2 voxels of one: (B, 8C, X, Y, Z) -> (B, C, 2X, 2Y, 2Z)."""
    batch, channels, *size = x.shape
    x = x.view(batch, channels // 8, 2, 2, 2, *size).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(batch, channels // 8, *(2 * extent for extent in size))


@dataclass(frozen=True)
class EncoderConfig:
    in_channels: int
    latent_channels: int
    num_res_blocks: int
    channels: tuple[int, ...]
    num_res_blocks_middle: int = 2
    norm_type: str = "layer"
    use_fp16: bool = False


class SparseStructureEncoder(Network[EncoderConfig]):
    """Occupancy -> mean and log variance of the latent."""

    Config = EncoderConfig
    torso = ("blocks", "middle_block")

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        widths = config.channels
        require(len(widths) > 0, "SparseStructureEncoder needs at least one entry in channels.")
        self.input_layer = DenseConv3d(config.in_channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            self.blocks.extend(ResBlock(width) for _ in range(config.num_res_blocks))
            if level < len(widths) - 1:
                self.blocks.append(Downsample(width, widths[level + 1]))
        self.middle_block = nn.Sequential(
            *(ResBlock(widths[-1]) for _ in range(config.num_res_blocks_middle))
        )
        self.out_layer = nn.Sequential(
            output_norm(config.norm_type, widths[-1]),
            nn.SiLU(),
            DenseConv3d(widths[-1], 2 * config.latent_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, in_channels, R, R, R) -> mean, logvar, each (B, latent_channels, r, r, r)."""
        h = self.input_layer(x).to(self.dtype)
        for block in self.blocks:
            h = block(h)
        mean, logvar = self.out_layer(self.middle_block(h).to(x.dtype)).chunk(2, dim=1)
        return mean, logvar


@dataclass(frozen=True)
class DecoderConfig:
    out_channels: int
    latent_channels: int
    num_res_blocks: int
    channels: tuple[int, ...]
    num_res_blocks_middle: int = 2
    norm_type: str = "layer"
    use_fp16: bool = False


class SparseStructureDecoder(Network[DecoderConfig]):
    """Latent -> logits of the occupancy; a voxel is occupied where its logit is above zero."""

    Config = DecoderConfig
    torso = ("blocks", "middle_block")

    def __init__(self, config: DecoderConfig):
        super().__init__(config)
        widths = config.channels
        require(len(widths) > 0, "SparseStructureDecoder needs at least one entry in channels.")
        self.input_layer = DenseConv3d(config.latent_channels, widths[0], 3, padding=1)
        self.middle_block = nn.Sequential(*(ResBlock(widths[0]) for _ in range(config.num_res_blocks_middle)))
        self.blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            self.blocks.extend(ResBlock(width) for _ in range(config.num_res_blocks))
            if level < len(widths) - 1:
                self.blocks.append(Upsample(width, widths[level + 1]))
        self.out_layer = nn.Sequential(
            output_norm(config.norm_type, widths[-1]),
            nn.SiLU(),
            DenseConv3d(widths[-1], config.out_channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """z (B, latent_channels, r, r, r) -> logits (B, out_channels, R, R, R)."""
        h = self.middle_block(self.input_layer(z).to(self.dtype))
        for block in self.blocks:
            h = block(h)
        return self.out_layer(h.to(z.dtype))
