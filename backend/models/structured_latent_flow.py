"""Flow transformer of the structured latent (paper 3.3): noisy features, time, condition -> velocity.

Convolutional residual blocks pool the voxels before the transformer and restore them after it. Attribute
names are dictated by the published checkpoints.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.layers.embedding import TimestepEmbedder, absolute_position_embedding
from backend.layers.norm import LayerNorm32
from backend.layers.sparse import Pooling, check_coords, pool, pool_coords, unpool
from backend.layers.sparse_conv import NeighbourTable, SubmanifoldConv3d, find_neighbours
from backend.layers.transformer import BLOCK_EPS, modulation, run_block
from backend.models.config import require
from backend.models.network import Network, zero_
from backend.models.sparse_structure_flow import Context, FlowConfig, initialise_flow_, modulated_blocks


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
    neighbours: tuple[NeighbourTable, ...]
    poolings: tuple[Pooling, ...]
    position_embedding: Tensor


class SparseResBlock3d(nn.Module):
    """Residual block modulated by time; `resample` "down" or "up" pools or unpools before anything else."""

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

    def forward(self, x: Tensor, t_emb: Tensor, table: NeighbourTable, pooling: Pooling | None) -> Tensor:
        """x (L, channels), t_emb (1, emb_channels), table of the outgoing voxels -> (L', out_channels)."""
        if self.resample == "down":
            x = pool(x, pooling)
        elif self.resample == "up":
            x = unpool(x, pooling)
        scale, shift = self.emb_layers(t_emb).chunk(2, dim=-1)
        h = self.conv1(F.silu(self.norm1(x)), table)
        h = self.norm2(h) * (1 + scale) + shift
        return self.conv2(F.silu(h), table) + self.skip_connection(x)


def input_blocks(widths: list[int], blocks_per_level: int, emb_channels: int) -> nn.ModuleList:
    """Down the levels: the last block of each pools and takes on the width of the next."""
    blocks = nn.ModuleList()
    for width, next_width in zip(widths, widths[1:], strict=False):
        for _ in range(blocks_per_level - 1):
            blocks.append(SparseResBlock3d(width, width, emb_channels))
        blocks.append(SparseResBlock3d(width, next_width, emb_channels, "down"))
    return blocks


def output_blocks(widths: list[int], blocks_per_level: int, emb_channels: int, skip: bool) -> nn.ModuleList:
    """Up the levels: the mirror of `input_blocks`, every block fed its counterpart's output too if `skip`."""
    factor = 2 if skip else 1
    blocks = nn.ModuleList()
    for width, coarse_width in reversed(list(zip(widths, widths[1:], strict=False))):
        blocks.append(SparseResBlock3d(factor * coarse_width, width, emb_channels, "up"))
        for _ in range(blocks_per_level - 1):
            blocks.append(SparseResBlock3d(factor * width, width, emb_channels))
    return blocks


class SLatFlowModel(Network):
    """Rectified-flow transformer over the voxels of one object."""

    Config = SLatFlowConfig
    torso = ("input_blocks", "blocks", "out_blocks")

    def __init__(self, config: SLatFlowConfig):
        super().__init__(config)
        name = type(self).__name__
        io_widths = list(config.io_block_channels or ())
        require(
            config.patch_size == 2 ** len(io_widths),
            f"{name}: patch_size {config.patch_size} calls for its log2 of io_block_channels.",
        )
        require(
            config.num_io_res_blocks > 0 or not io_widths, f"{name} needs at least 1 in num_io_res_blocks."
        )
        channels = config.model_channels
        widths = [*io_widths, channels]
        self.t_embedder = TimestepEmbedder(channels)
        if config.share_mod:
            self.adaLN_modulation = modulation(channels)
        self.input_layer = nn.Linear(config.in_channels, widths[0])
        self.input_blocks = input_blocks(widths, config.num_io_res_blocks, channels)
        self.blocks = modulated_blocks(config, name)
        self.out_blocks = output_blocks(
            widths, config.num_io_res_blocks, channels, config.use_skip_connection
        )
        self.out_layer = nn.Linear(widths[0], config.out_channels)
        initialise_flow_(self, self.blocks)

    def structure(self, coords: Tensor) -> FlowStructure:
        """Tables of the voxels (L, 3); every later call shares them."""
        coords = coarse = check_coords(coords)
        neighbours, poolings = [], []
        for _ in self.config.io_block_channels or ():
            neighbours.append(find_neighbours(coarse))
            poolings.append(pool_coords(coarse))
            coarse = poolings[-1].coarse_coords
        if poolings:
            neighbours.append(find_neighbours(coarse))
        embedding = absolute_position_embedding(coarse, self.config.model_channels)
        return FlowStructure(coords, coarse, tuple(neighbours), tuple(poolings), embedding)

    def context(self, cond: Tensor) -> Context:
        """Condition (1, Lc, cond_channels) -> keys and values of every block."""
        cond = cond.to(self.dtype)
        return Context(tuple(block.cross_attn.keys_values(cond) for block in self.blocks))

    def forward(self, feats: Tensor, t: Tensor, context: Context, structure: FlowStructure) -> Tensor:
        """feats (L, in_channels), t (1,) times 1000 -> velocity (L, out_channels)."""
        t_emb = self.t_embedder(t)
        mod = self.adaLN_modulation(t_emb) if self.config.share_mod else t_emb
        t_emb, mod = t_emb.to(self.dtype), mod.to(self.dtype)
        h, skips = self._down(self.input_layer(feats).to(self.dtype), t_emb, structure)
        h = (h + structure.position_embedding.to(self.dtype))[None]
        for block, keys_values in zip(self.blocks, context.keys_values, strict=True):
            h = run_block(block, self.config.use_checkpoint, h, mod, keys_values)
        h = self._up(h[0], skips, t_emb, structure)
        return self.out_layer(F.layer_norm(h, h.shape[-1:]).to(feats.dtype))

    def _down(self, h: Tensor, t_emb: Tensor, structure: FlowStructure) -> tuple[Tensor, list[Tensor]]:
        level = 0
        skips = []
        for block in self.input_blocks:
            pooling = structure.poolings[level] if block.resample else None
            level += block.resample == "down"
            h = block(h, t_emb, structure.neighbours[level], pooling)
            skips.append(h)
        return h, skips

    def _up(self, h: Tensor, skips: list[Tensor], t_emb: Tensor, structure: FlowStructure) -> Tensor:
        level = len(structure.poolings)
        for block in self.out_blocks:
            level -= block.resample == "up"
            pooling = structure.poolings[level] if block.resample else None
            if self.config.use_skip_connection:
                h = torch.cat([h, skips.pop()], dim=1)
            h = block(h, t_emb, structure.neighbours[level], pooling)
        return h
