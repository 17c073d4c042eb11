"""Flow transformer of the sparse structure (paper 3.3): noisy latent 16^3, time and condition -> velocity.

Attribute names are dictated by the published checkpoints.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from backend.layers.attention import KeysValues
from backend.layers.embedding import TimestepEmbedder, absolute_position_embedding, grid_coordinates
from backend.layers.transformer import ModulatedCrossBlock, modulation, run_block
from backend.models.config import require, resolve_heads
from backend.models.network import Network, xavier_linears_, zero_


@dataclass(frozen=True)
class Context:
    """A condition as keys and values of every block, computed once for all steps."""

    keys_values: tuple[KeysValues, ...]


@dataclass(frozen=True)
class FlowConfig:
    resolution: int
    in_channels: int
    model_channels: int
    cond_channels: int
    out_channels: int
    num_blocks: int
    num_heads: int | None = None
    num_head_channels: int | None = 64
    mlp_ratio: float = 4
    patch_size: int = 2
    pe_mode: str = "ape"
    use_fp16: bool = False
    use_checkpoint: bool = False
    share_mod: bool = False
    qk_rms_norm: bool = False
    qk_rms_norm_cross: bool = False


def initialise_flow_(model: nn.Module, blocks: nn.ModuleList) -> None:
    """Start values of both flow models: nothing is added by any block and the velocity is zero."""
    xavier_linears_(model)
    for layer in (model.t_embedder.mlp[0], model.t_embedder.mlp[2]):
        nn.init.normal_(layer.weight, std=0.02)
    for owner in [model, *blocks]:
        if hasattr(owner, "adaLN_modulation"):
            zero_(owner.adaLN_modulation[1])
    zero_(model.out_layer)


def modulated_blocks(config: "FlowConfig", name: str) -> nn.ModuleList:
    """The blocks of a flow model with the widths and options of its configuration."""
    require(config.pe_mode == "ape", f"{name} knows pe_mode ape only, not {config.pe_mode}.")
    heads = resolve_heads(config.model_channels, config.num_heads, config.num_head_channels, name)
    return nn.ModuleList(
        ModulatedCrossBlock(
            config.model_channels,
            config.cond_channels,
            heads,
            config.mlp_ratio,
            config.qk_rms_norm,
            config.qk_rms_norm_cross,
            config.share_mod,
        )
        for _ in range(config.num_blocks)
    )


def patchify(x: Tensor, size: int) -> Tensor:
    """Volume (B, C, X, Y, Z) -> (B, C * size^3, X/size, Y/size, Z/size).

    Within the new channels the old channel is slowest, then x, y, z of the patch.
    """
    batch, channels, *extents = x.shape
    split = [part for extent in extents for part in (extent // size, size)]
    x = x.view(batch, channels, *split).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(batch, channels * size**3, *(extent // size for extent in extents))


def unpatchify(x: Tensor, size: int) -> Tensor:
    """The reverse of `patchify`."""
    batch, channels, *extents = x.shape
    x = x.view(batch, channels // size**3, size, size, size, *extents).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(batch, channels // size**3, *(extent * size for extent in extents))


class SparseStructureFlowModel(Network):
    """Rectified-flow transformer over the tokens of a dense latent."""

    Config = FlowConfig
    torso = ("blocks",)

    def __init__(self, config: FlowConfig):
        super().__init__(config)
        patch = config.patch_size
        require(
            patch > 0 and config.resolution % patch == 0,
            f"SparseStructureFlowModel: patch_size {patch} must divide the resolution {config.resolution}.",
        )
        channels = config.model_channels
        self.t_embedder = TimestepEmbedder(channels)
        if config.share_mod:
            self.adaLN_modulation = modulation(channels)
        coords = grid_coordinates(config.resolution // patch)
        self.register_buffer("pos_emb", absolute_position_embedding(coords, channels))
        self.input_layer = nn.Linear(config.in_channels * patch**3, channels)
        self.blocks = modulated_blocks(config, type(self).__name__)
        self.out_layer = nn.Linear(channels, config.out_channels * patch**3)
        initialise_flow_(self, self.blocks)

    def context(self, cond: Tensor) -> Context:
        """Condition (B or 1, Lc, cond_channels) -> keys and values of every block."""
        cond = cond.to(self.dtype)
        return Context(tuple(block.cross_attn.keys_values(cond) for block in self.blocks))

    def forward(self, x: Tensor, t: Tensor, context: Context) -> Tensor:
        """x (B, in_channels, R, R, R), t (B,) times 1000 -> velocity (B, out_channels, R, R, R)."""
        patch = self.config.patch_size
        tokens = patchify(x, patch)
        size = tokens.shape[2:]
        h = self.input_layer(tokens.flatten(2).transpose(1, 2)) + self.pos_emb
        t_emb = self.t_embedder(t)
        if self.config.share_mod:
            t_emb = self.adaLN_modulation(t_emb)
        h, t_emb = h.to(self.dtype), t_emb.to(self.dtype)
        for block, keys_values in zip(self.blocks, context.keys_values, strict=True):
            h = run_block(block, self.config.use_checkpoint, h, t_emb, keys_values)
        h = F.layer_norm(h.to(x.dtype), h.shape[-1:])
        return unpatchify(self.out_layer(h).transpose(1, 2).unflatten(2, size), patch)
