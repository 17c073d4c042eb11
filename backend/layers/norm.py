"""Normalisations that are evaluated in fp32 whatever the precision of the torso.

Tensors come in and go out in their own dtype; the affine parameters stay fp32, for the torso alone is half
precision. Parameter names are those of the published checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm32(nn.LayerNorm):
    """LayerNorm over the last dimension in fp32: (..., C) -> (..., C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps).to(x.dtype)


class ChannelLayerNorm32(nn.LayerNorm):
    """LayerNorm over the channels of every voxel of a dense volume in fp32: (B, C, X, Y, Z) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.float().movedim(1, -1)
        normed = F.layer_norm(rows, self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.movedim(-1, 1).to(x.dtype).contiguous()


class GroupNorm32(nn.GroupNorm):
    """GroupNorm of a dense volume in fp32: (B, C, X, Y, Z) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps).to(x.dtype)


class SparseGroupNorm32(nn.GroupNorm):
    """GroupNorm over all voxels of one object in fp32: (L, C) -> (L, C)."""

    def forward(self, feats: Tensor) -> Tensor:
        rows = feats.float()
        per_channel = feats.shape[1] // self.num_groups
        # sums down the channels first: far quicker than one reduction over voxels and a group's channels
        mean = rows.mean(0).view(-1, per_channel).mean(1).repeat_interleave(per_channel)
        variance = (rows - mean).square_().mean(0).view(-1, per_channel).mean(1)
        scale = self.weight * torch.rsqrt(variance + self.eps).repeat_interleave(per_channel)
        shift = self.bias - mean * scale
        return torch.addcmul(shift, rows, scale).to(feats.dtype)


class MultiHeadRMSNorm(nn.Module):
    """Root-mean-square norm of every head on its own, in fp32: (..., H, D) -> (..., H, D).

    It divides by the L2 norm and multiplies by sqrt(D); the floor (1e-12) is on the norm, not the mean
    square.
    """

    def __init__(self, head_channels: int, num_heads: int):
        super().__init__()
        self.scale = head_channels**0.5
        self.gamma = nn.Parameter(torch.ones(num_heads, head_channels))

    def forward(self, x: Tensor) -> Tensor:
        return (F.normalize(x.float(), dim=-1) * self.gamma * self.scale).to(x.dtype)
