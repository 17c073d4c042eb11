"""Transformer blocks: the modulated one of both flow models and the plain one of the latent autoencoder.

Dense tokens and the voxels of one object are the same thing here: (B, L, C). Attribute names are dictated by
the published checkpoints.
"""

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from backend.layers.attention import CrossAttention, KeysValues, SelfAttention
from backend.layers.norm import LayerNorm32
from backend.layers.window_attention import AttentionTable

BLOCK_EPS = 1e-6


class FeedForward(nn.Module):
    """(..., C) -> (..., C) through C * mlp_ratio channels; GELU in its tanh approximation."""

    def __init__(self, channels: int, mlp_ratio: float):
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward: (B, L, C) -> (B, L, C)."""

    def __init__(self, channels: int, num_heads: int, mlp_ratio: float, qk_rms_norm: bool = False):
        super().__init__()
        self.norm1 = LayerNorm32(channels, eps=BLOCK_EPS, elementwise_affine=False)
        self.norm2 = LayerNorm32(channels, eps=BLOCK_EPS, elementwise_affine=False)
        self.attn = SelfAttention(channels, num_heads, qk_rms_norm)
        self.mlp = FeedForward(channels, mlp_ratio)

    def forward(self, x: Tensor, windows: AttentionTable | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), windows)
        return x + self.mlp(self.norm2(x))


def modulation(channels: int) -> nn.Sequential:
    """Time embedding (B, C) -> (B, 6C): shift, scale, gate of attention, then of the feed-forward."""
    return nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))


class ModulatedCrossBlock(nn.Module):
    """Self-attention and feed-forward modulated by time, cross-attention to the condition between them.

    `share_mod`: the model computes one modulation (B, 6C) for all blocks, and the block has none of its own.
    """

    def __init__(
        self,
        channels: int,
        cond_channels: int,
        num_heads: int,
        mlp_ratio: float,
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
        share_mod: bool = False,
    ):
        super().__init__()
        self.norm1 = LayerNorm32(channels, eps=BLOCK_EPS, elementwise_affine=False)
        self.norm2 = LayerNorm32(channels, eps=BLOCK_EPS, elementwise_affine=True)
        self.norm3 = LayerNorm32(channels, eps=BLOCK_EPS, elementwise_affine=False)
        self.self_attn = SelfAttention(channels, num_heads, qk_rms_norm)
        self.cross_attn = CrossAttention(channels, cond_channels, num_heads, qk_rms_norm_cross)
        self.mlp = FeedForward(channels, mlp_ratio)
        self.adaLN_modulation = None if share_mod else modulation(channels)

    def modulation_of(self, t_emb: Tensor) -> Tensor:
        """(B, C) -> (B, 6C); a modulation that is shared or was computed before, (B, 6C), stays as it is."""
        if self.adaLN_modulation is None or t_emb.shape[-1] == self.adaLN_modulation[1].out_features:
            return t_emb
        return self.adaLN_modulation(t_emb)

    def forward(self, x: Tensor, t_emb: Tensor, keys_values: KeysValues) -> Tensor:
        """x (B, L, C), t_emb (B, C) or its modulation (B, 6C) -> (B, L, C)."""
        mod = self.modulation_of(t_emb)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = mod[:, None].chunk(6, dim=-1)
        x = x + gate_a * self.self_attn(self.norm1(x) * (1 + scale_a) + shift_a)
        x = x + self.cross_attn(self.norm2(x), keys_values)
        return x + gate_m * self.mlp(self.norm3(x) * (1 + scale_m) + shift_m)


def run_block(block: nn.Module, recompute: bool, *inputs: object) -> Tensor:
    """Run a block; while training with `recompute`, keep none of its activations and compute them again."""
    if recompute and block.training:
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
