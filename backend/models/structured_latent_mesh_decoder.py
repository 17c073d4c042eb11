"""Mesh decoder of the structured latent (paper 3.2): latents at 64^3 -> raw cube features at 256^3.

Attribute names are dictated by the published checkpoints.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from backend.config import parse_config, require
from backend.layers.norm import SparseGroupNorm32
from backend.layers.sparse import subdivide, subdivide_coords
from backend.layers.sparse_conv import ConvolutionTable, PointwiseConv3d, SubdividedConv3d, SubmanifoldConv3d
from backend.layers.stack import Stack
from backend.models.network import zero_
from backend.models.structured_latent_vae import TrunkConfig, VoxelStructure, WindowTransformer

GROUPS = 32
CUBE_CHANNELS = 53
"""sdf 8 · deformation 8x3 · weights 21."""
COLOR_CHANNELS = 48
"""Colour and normal of each corner, 8x6."""


@dataclass(frozen=True)
class MeshHeadConfig:
    """solid: what the voxels enclose is inside; the published decoders know nothing of it."""

    use_color: bool = False
    solid: bool = False


@dataclass(frozen=True)
class SLatMeshDecoderConfig(TrunkConfig):
    representation_config: dict = field(default_factory=dict)

    @property
    def head(self) -> MeshHeadConfig:
        """The fields of `representation_config`, checked."""
        return parse_config(MeshHeadConfig, self.representation_config, "representation_config")


@dataclass(frozen=True)
class MeshStructure:
    """Tables of the voxels and of both finer grids; fine_coords (64L, 3) on four times the resolution."""

    voxels: VoxelStructure
    neighbours: tuple[ConvolutionTable, ConvolutionTable, ConvolutionTable]
    fine_coords: Tensor


class SubdivideBlock(nn.Module):
    """Residual block at twice the resolution: (L, C) -> (8L, C')."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        require(
            channels % GROUPS == 0 and out_channels % GROUPS == 0,
            f"SLatMeshDecoder needs model_channels that are a multiple of {8 * GROUPS}.",
        )
        self.act_layers = nn.Sequential(SparseGroupNorm32(GROUPS, channels), nn.SiLU())
        self.out_layers = nn.ModuleList(
            [
                SubdividedConv3d(channels, out_channels),
                SparseGroupNorm32(GROUPS, out_channels),
                nn.SiLU(),
                SubmanifoldConv3d(out_channels, out_channels),
            ]
        )
        zero_(self.out_layers[3])
        self.skip_connection = (
            nn.Identity() if channels == out_channels else PointwiseConv3d(channels, out_channels)
        )

    def forward(self, x: Tensor, coarse: ConvolutionTable, fine: ConvolutionTable) -> Tensor:
        """x (L, C), tables of the voxels and of their children -> (8L, C')."""
        first, norm, activation, second = self.out_layers
        h = first(self.act_layers(x), coarse)
        h = second(activation(norm(h)), fine)
        # A pointwise map of copies is the copy of the pointwise map.
        return h + subdivide(self.skip_connection(x))


class SLatMeshDecoder(WindowTransformer[SLatMeshDecoderConfig]):
    """Latents -> raw features of every cube of the fine grid, without a norm before the output layer."""

    Config = SLatMeshDecoderConfig
    torso = ("blocks", "upsample")

    def __init__(self, config: SLatMeshDecoderConfig):
        color = COLOR_CHANNELS if config.head.use_color else 0
        super().__init__(config, config.latent_channels, CUBE_CHANNELS + color)
        channels = config.model_channels
        self.upsample = Stack(
            [SubdivideBlock(channels, channels // 4), SubdivideBlock(channels // 4, channels // 8)]
        )

    @property
    def out_width(self) -> int:
        return self.config.model_channels // 8

    def structure(self, coords: Tensor) -> MeshStructure:
        """Tables of the voxels (L, 3) and of their 8L and 64L descendants."""
        voxels = self.voxel_structure(coords)
        coarse = self.engine.neighbours(voxels.coords)
        middle = coarse.subdivide()
        fine_coords = subdivide_coords(subdivide_coords(voxels.coords))
        return MeshStructure(voxels, (coarse, middle, middle.subdivide()), fine_coords)

    def forward(self, feats: Tensor, structure: MeshStructure) -> tuple[Tensor, Tensor]:
        """feats (L, latent_channels) -> fine_coords (64L, 3), raw (64L, 53 or 101)."""
        h = self.trunk(feats, structure.voxels)
        for block, (coarse, fine) in zip(self.upsample, pairwise(structure.neighbours), strict=True):
            h = block(h, coarse, fine)
        return structure.fine_coords, self.out_layer(h.to(feats.dtype))
