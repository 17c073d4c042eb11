"""Flow transformer of the structured latent (paper 3.3): noisy features, time, condition -> velocity.

Convolutional residual blocks pool the voxels before the transformer and restore them after it. Attribute
names are dictated by the published checkpoints.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import require
from backend.layers.embedding import absolute_position_embedding
from backend.layers.norm import LayerNorm32
from backend.layers.sparse import Pooling, check_coords, pool, pool_coords, unpool
from backend.layers.sparse_conv import ConvolutionTable, SubmanifoldConv3d
from backend.layers.stack import Stack
from backend.layers.transformer import BLOCK_EPS, run_block
from backend.models.flow_transformer import Context, FlowConfig, FlowTransformer, TimeModulation
from backend.models.network import zero_


@dataclass(frozen=True)
class SLatFlowConfig(FlowConfig):
    num_io_res_blocks: int = 2
    io_block_channels: tuple[int, ...] | None = None
    use_skip_connection: bool = True


@dataclass(frozen=True)
class FlowStructure:
    """All that depends on the voxels alone, computed once for all steps.

    coords (L, 3) · coarse_coords (M, 3) of the transformer's tokens · neighbours of every level, finest first
    · poolings between the levels · position_embedding (M, C) fp32.
    """

    coords: Tensor
    coarse_coords: Tensor
    neighbours: tuple[ConvolutionTable, ...]
    poolings: tuple[Pooling, ...]
    position_embedding: Tensor


class SparseResBlock3d(nn.Module):
    """Residual block modulated by time, fed pooled ("down") or unpooled ("up") voxels as `resample` says."""

    def __init__(self, channels: int, out_channels: int, emb_channels: int, resample: str | None = None):
        super().__init__()
        self.resample = resample
        self.norm1 = LayerNorm32(channels, eps=BLOCK_EPS)
        self.norm2 = LayerNorm32(out_channels, eps=BLOCK_EPS, elementwise_affine=False)
        self.conv1 = SubmanifoldConv3d(channels, out_channels)
        self.conv2 = SubmanifoldConv3d(out_channels, out_channels)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Linear(channels, out_channels)
        )
        zero_(self.conv2.conv)

    def forward(self, x: Tensor, t_emb: Tensor, table: ConvolutionTable) -> Tensor:
        """x (L, channels), t_emb (1, emb_channels), table of these voxels -> (L, out_channels)."""
        scale, shift = self.emb_layers(t_emb).chunk(2, dim=-1)
        h = self.conv1(F.silu(self.norm1(x)), table)
        h = self.norm2(h) * (1 + scale) + shift
        return self.conv2(F.silu(h), table) + self.skip_connection(x)


def input_blocks(widths: list[int], blocks_per_level: int, emb_channels: int) -> Stack[SparseResBlock3d]:
    """Down the levels: the last block of each pools and takes on the width of the next."""
    blocks: Stack[SparseResBlock3d] = Stack()
    for width, next_width in zip(widths, widths[1:], strict=False):
        for _ in range(blocks_per_level - 1):
            blocks.append(SparseResBlock3d(width, width, emb_channels))
        blocks.append(SparseResBlock3d(width, next_width, emb_channels, "down"))
    return blocks


def output_blocks(
    widths: list[int], blocks_per_level: int, emb_channels: int, skip: bool
) -> Stack[SparseResBlock3d]:
    """Up the levels: the mirror of `input_blocks`, every block fed its counterpart's output too if `skip`."""
    factor = 2 if skip else 1
    blocks: Stack[SparseResBlock3d] = Stack()
    for width, coarse_width in reversed(list(zip(widths, widths[1:], strict=False))):
        blocks.append(SparseResBlock3d(factor * coarse_width, width, emb_channels, "up"))
        for _ in range(blocks_per_level - 1):
            blocks.append(SparseResBlock3d(factor * width, width, emb_channels))
    return blocks


class SLatFlowModel(FlowTransformer[SLatFlowConfig]):
    """Rectified-flow transformer over the voxels of one object."""

    Config = SLatFlowConfig
    torso = ("input_blocks", "blocks", "out_blocks")

    def __init__(self, config: SLatFlowConfig):
        super().__init__(config)
        name = type(self).__name__
        widths = [*(config.io_block_channels or ()), config.model_channels]
        require(
            config.patch_size == 2 ** (len(widths) - 1),
            f"{name}: patch_size {config.patch_size} calls for its log2 of io_block_channels.",
        )
        count, channels = config.num_io_res_blocks, config.model_channels
        require(count > 0 or len(widths) == 1, f"{name} needs at least 1 in num_io_res_blocks.")
        self.input_layer = nn.Linear(config.in_channels, widths[0])
        self.input_blocks = input_blocks(widths, count, channels)
        self.out_blocks = output_blocks(widths, count, channels, config.use_skip_connection)
        self.out_layer = nn.Linear(widths[0], config.out_channels)
        self.initialise_(self.out_layer)

    def structure(self, coords: Tensor) -> FlowStructure:
        """Tables of the voxels (L, 3); every later call shares them."""
        coords = coarse = check_coords(coords)
        neighbours, poolings = [], []
        for _ in self.config.io_block_channels or ():
            neighbours.append(self.engine.neighbours(coarse))
            poolings.append(pool_coords(coarse))
            coarse = poolings[-1].coarse_coords
        if poolings:
            neighbours.append(self.engine.neighbours(coarse))
        embedding = absolute_position_embedding(coarse, self.config.model_channels)
        return FlowStructure(coords, coarse, tuple(neighbours), tuple(poolings), embedding)

    def forward(
        self, feats: Tensor, t: Tensor | TimeModulation, context: Context, structure: FlowStructure
    ) -> Tensor:
        """feats (L, in_channels), t (1,) times 1000 or as `timetable` holds it -> (L, out_channels)."""
        time = self.embed_time(t)
        t_emb = time.embedding
        h, skips = self._down(self.input_layer(feats).to(self.dtype), t_emb, structure)
        h = h + structure.position_embedding.to(self.dtype)
        h = self.run_blocks(h[None], time, context)[0]
        h = self._up(h, skips, t_emb, structure)
        return self.out_layer(F.layer_norm(h, h.shape[-1:]).to(feats.dtype))

    def _down(self, h: Tensor, t_emb: Tensor, structure: FlowStructure) -> tuple[Tensor, list[Tensor]]:
        level = 0
        skips = []
        for block in self.input_blocks:
            if block.resample == "down":
                h = pool(h, structure.poolings[level])
                level += 1
            h = run_block(block, self.config.use_checkpoint, h, t_emb, structure.neighbours[level])
            skips.append(h)
        return h, skips

    def _up(self, h: Tensor, skips: list[Tensor], t_emb: Tensor, structure: FlowStructure) -> Tensor:
        level = len(structure.poolings)
        for block in self.out_blocks:
            if self.config.use_skip_connection:
                h = torch.cat([h, skips.pop()], dim=1)
            if block.resample == "up":
                level -= 1
                h = unpool(h, structure.poolings[level])
            h = run_block(block, self.config.use_checkpoint, h, t_emb, structure.neighbours[level])
        return h
