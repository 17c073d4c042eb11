"""Autoencoder of the structured latent (paper 3.2): a windowed transformer over the voxels of one object.

The encoder turns averaged image features into latents; the decoders turn latents into the raw numbers of
Gaussians or of a radiance field (the mesh decoder has its own file). Attribute names are those of the
published checkpoints.
"""

from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import parse_config, require, resolve_heads
from backend.layers.embedding import absolute_position_embedding
from backend.layers.sparse import check_coords
from backend.layers.stack import Stack
from backend.layers.transformer import TransformerBlock, run_block
from backend.layers.window_attention import AttentionTable
from backend.models.network import Network, xavier_linears_, zero_


@dataclass(frozen=True)
class TrunkConfig:
    resolution: int
    model_channels: int
    latent_channels: int
    num_blocks: int
    num_heads: int | None = None
    num_head_channels: int | None = 64
    mlp_ratio: float = 4
    attn_mode: str = "swin"
    window_size: int | None = 8
    pe_mode: str = "ape"
    use_fp16: bool = False
    use_checkpoint: bool = False
    qk_rms_norm: bool = False


@dataclass(frozen=True)
class VoxelStructure:
    """All that depends on the voxels alone.

    coords (L, 3) · position_embedding (L, C) fp32 · windows of even and of odd blocks, None for full
    attention.
    """

    coords: Tensor
    position_embedding: Tensor
    windows: tuple[AttentionTable | None, AttentionTable | None]


Trunk = TypeVar("Trunk", bound=TrunkConfig)


class WindowTransformer(Network[Trunk]):
    """The trunk that encoder and decoders share: features (L, C_in) -> (L, model_channels)."""

    torso: ClassVar[tuple[str, ...]] = ("blocks",)

    def __init__(self, config: Trunk, in_channels: int, out_channels: int):
        super().__init__(config)
        name = type(self).__name__
        require(
            config.attn_mode in ("swin", "full"),
            f"{name} knows attn_mode swin and full, not {config.attn_mode}.",
        )
        require(config.pe_mode == "ape", f"{name} knows pe_mode ape only, not {config.pe_mode}.")
        require(
            config.attn_mode == "full" or (config.window_size or 0) > 0,
            f"{name} needs a window_size for swin.",
        )
        channels = config.model_channels
        heads = resolve_heads(channels, config.num_heads, config.num_head_channels, name)
        self.input_layer = nn.Linear(in_channels, channels)
        self.blocks = Stack(
            TransformerBlock(channels, heads, config.mlp_ratio, config.qk_rms_norm)
            for _ in range(config.num_blocks)
        )
        self.out_layer = nn.Linear(self.out_width, out_channels)
        xavier_linears_(self)
        zero_(self.out_layer)

    @property
    def out_width(self) -> int:
        """Channels that reach the output layer."""
        return self.config.model_channels

    def voxel_structure(self, coords: Tensor) -> VoxelStructure:
        """Tables of the voxels (L, 3) for the trunk."""
        coords = check_coords(coords)
        size = self.config.window_size
        windows: tuple[AttentionTable | None, AttentionTable | None] = (None, None)
        if self.config.attn_mode == "swin" and size is not None:
            windows = self.engine.windows(coords, size, 0), self.engine.windows(coords, size, size // 2)
        embedding = absolute_position_embedding(coords, self.config.model_channels)
        return VoxelStructure(coords, embedding, windows)

    def trunk(self, feats: Tensor, structure: VoxelStructure) -> Tensor:
        """feats (L, C_in) -> (L, model_channels) in the precision of the torso."""
        h = (self.input_layer(feats) + structure.position_embedding).to(self.dtype)[None]
        for number, block in enumerate(self.blocks):
            h = run_block(block, self.config.use_checkpoint, h, structure.windows[number % 2])
        return h[0]

    def raw(self, feats: Tensor, structure: VoxelStructure) -> Tensor:
        """Trunk, norm and output layer: feats (L, C_in) -> (L, C_out)."""
        h = self.trunk(feats, structure).to(feats.dtype)
        return self.out_layer(F.layer_norm(h, h.shape[-1:]))


@dataclass(frozen=True, kw_only=True)
class SLatEncoderConfig(TrunkConfig):
    in_channels: int


class SLatEncoder(WindowTransformer[SLatEncoderConfig]):
    """Image features on the voxels -> mean and log variance of the structured latent."""

    Config = SLatEncoderConfig

    def __init__(self, config: SLatEncoderConfig):
        super().__init__(config, config.in_channels, 2 * config.latent_channels)

    def structure(self, coords: Tensor) -> VoxelStructure:
        """Tables of the voxels (L, 3); every later call shares them."""
        return self.voxel_structure(coords)

    def forward(self, feats: Tensor, structure: VoxelStructure) -> tuple[Tensor, Tensor]:
        """feats (L, in_channels) -> mean, logvar, each (L, latent_channels)."""
        mean, logvar = self.raw(feats, structure).chunk(2, dim=-1)
        return mean, logvar


class RawDecoder(WindowTransformer[Trunk]):
    """A decoder whose output is one row of raw numbers for each voxel."""

    def structure(self, coords: Tensor) -> VoxelStructure:
        """Tables of the voxels (L, 3); every later call shares them."""
        return self.voxel_structure(coords)

    def forward(self, feats: Tensor, structure: VoxelStructure) -> Tensor:
        """feats (L, latent_channels) -> raw (L, C_out)."""
        return self.raw(feats, structure)


@dataclass(frozen=True)
class LearningRates:
    """Factors on the raw channels of each attribute."""

    xyz: float = field(default=1.0, metadata={"json": "_xyz"})
    features_dc: float = field(default=1.0, metadata={"json": "_features_dc"})
    opacity: float = field(default=1.0, metadata={"json": "_opacity"})
    scaling: float = field(default=1.0, metadata={"json": "_scaling"})
    rotation: float = field(default=0.1, metadata={"json": "_rotation"})


@dataclass(frozen=True)
class GaussianHeadConfig:
    """How raw channels become Gaussians; the numbers are applied where representations are made."""

    lr: LearningRates = LearningRates()
    perturb_offset: bool = True
    voxel_size: float = 1.5
    num_gaussians: int = 32
    filter_kernel_size_2d: float = field(default=0.1, metadata={"json": "2d_filter_kernel_size"})
    filter_kernel_size_3d: float = field(default=9e-4, metadata={"json": "3d_filter_kernel_size"})
    scaling_bias: float = 4e-3
    opacity_bias: float = 0.1
    scaling_activation: str = "softplus"


@dataclass(frozen=True)
class SLatGaussianDecoderConfig(TrunkConfig):
    representation_config: dict = field(default_factory=dict)

    @property
    def head(self) -> GaussianHeadConfig:
        """The published fields of `representation_config`, checked."""
        return parse_config(GaussianHeadConfig, self.representation_config, "representation_config")


CHANNELS_PER_GAUSSIAN = 14
"""xyz 3 · f_dc 3 · scaling 3 · rotation 4 · opacity 1, each a contiguous run over the voxel's Gaussians."""


def radical_inverse(base: int, number: int) -> float:
    """Digits of `number` mirrored at the point."""
    value, weight = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        value += digit * weight
        weight /= base
    return value


def offset_perturbation(count: int, voxel_size: float) -> Tensor:
    """Start offsets of a voxel's Gaussians before tanh, a spread Hammersley sequence: (count, 3) fp32."""
    points = [[i / count, radical_inverse(2, i), radical_inverse(3, i)] for i in range(count)]
    return torch.atanh((torch.tensor(points, device="cpu") * 2 - 1) / voxel_size)


class SLatGaussianDecoder(RawDecoder[SLatGaussianDecoderConfig]):
    """Latents -> raw Gaussians, (L, 14 * num_gaussians)."""

    Config = SLatGaussianDecoderConfig
    offset_perturbation: Tensor

    def __init__(self, config: SLatGaussianDecoderConfig):
        head = config.head
        require(
            head.scaling_activation in ("softplus", "exp"),
            f"SLatGaussianDecoder knows scaling_activation softplus and exp, not {head.scaling_activation}.",
        )
        require(
            head.num_gaussians > 0 and (head.voxel_size >= 1 or not head.perturb_offset),
            "num_gaussians must be positive, voxel_size above 1.",
        )
        super().__init__(config, config.latent_channels, CHANNELS_PER_GAUSSIAN * head.num_gaussians)
        self.register_buffer("offset_perturbation", offset_perturbation(head.num_gaussians, head.voxel_size))


@dataclass(frozen=True)
class RadianceFieldHeadConfig:
    """Size of the tri-vectors of a voxel."""

    rank: int = 16
    dim: int = 8


@dataclass(frozen=True)
class SLatRadianceFieldDecoderConfig(TrunkConfig):
    representation_config: dict = field(default_factory=dict)

    @property
    def head(self) -> RadianceFieldHeadConfig:
        """The published fields of `representation_config`, checked."""
        return parse_config(RadianceFieldHeadConfig, self.representation_config, "representation_config")


class SLatRadianceFieldDecoder(RawDecoder[SLatRadianceFieldDecoderConfig]):
    """Latents -> raw tri-vectors 3 * rank * dim · density rank · f_dc 3 * rank."""

    Config = SLatRadianceFieldDecoderConfig

    def __init__(self, config: SLatRadianceFieldDecoderConfig):
        head = config.head
        super().__init__(config, config.latent_channels, head.rank * (3 * head.dim + 4))
