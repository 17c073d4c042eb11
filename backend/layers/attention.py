"""Multi-head attention over the tokens of a sequence, whole or within windows.

Dense and sparse networks share it: the voxels of one object are a sequence (1, L, C). The scale is 1/sqrt(D);
the parameter names and the packing of queries, keys and values are those of the published checkpoints.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from backend.layers.norm import MultiHeadRMSNorm
from backend.layers.window_attention import AttentionTable

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of a condition, each (B, H, Lc, D)."""


class SelfAttention(nn.Module):
    """(B, L, C) -> (B, L, C); every token sees all, or with `windows` (B = 1) those of its own window."""

    def __init__(self, channels: int, num_heads: int, qk_rms_norm: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // num_heads, num_heads) if qk_rms_norm else None
        self.k_rms_norm = MultiHeadRMSNorm(channels // num_heads, num_heads) if qk_rms_norm else None
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, windows: AttentionTable | None = None) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        if self.q_rms_norm is not None and self.k_rms_norm is not None:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        if windows is None:
            heads = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
            return self.to_out(heads.transpose(1, 2).flatten(2))
        assert x.shape[0] == 1, "windows are those of one object"
        return self.to_out(windows.attend(q[0], k[0], v[0]).flatten(1)[None])


class CrossAttention(nn.Module):
    """Tokens (B, L, C) look at a condition whose keys and values were computed once for all steps."""

    def __init__(self, channels: int, cond_channels: int, num_heads: int, qk_rms_norm: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(cond_channels, 2 * channels)
        self.q_rms_norm = MultiHeadRMSNorm(channels // num_heads, num_heads) if qk_rms_norm else None
        self.k_rms_norm = MultiHeadRMSNorm(channels // num_heads, num_heads) if qk_rms_norm else None
        self.to_out = nn.Linear(channels, channels)

    def keys_values(self, cond: Tensor) -> KeysValues:
        """Condition (B, Lc, Cc) -> keys and values, each (B, H, Lc, D)."""
        k, v = self.to_kv(cond).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        if self.k_rms_norm is not None:
            k = self.k_rms_norm(k)
        return k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, keys_values: KeysValues) -> Tensor:
        q = self.to_q(x).unflatten(-1, (self.num_heads, -1))
        if self.q_rms_norm is not None:
            q = self.q_rms_norm(q)
        k, v = (part.expand(x.shape[0], -1, -1, -1) for part in keys_values)
        heads = F.scaled_dot_product_attention(q.transpose(1, 2), k, v)
        return self.to_out(heads.transpose(1, 2).flatten(2))
