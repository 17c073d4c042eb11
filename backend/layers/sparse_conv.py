"""Submanifold convolution: a 3x3x3 convolution at the occupied voxels only, empty ones counting as zero.

Written with gathers and matrix products, so that it runs wherever torch does and can be trained. Which voxel
neighbours which is found once per structure. Weights keep the published layout (C_out, kx, ky, kz, C_in).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.layers.sparse import linear_keys

CENTRE = 13
PAIRS_AT_ONCE = 1 << 18
"""Rows gathered at a time: bounds the memory on the mesh decoder's finest grid (over a million voxels)."""


@dataclass(frozen=True)
class NeighbourTable:
    """Neighbours of L voxels along the 13 directions that follow (0, 0, 0) in the order x, y, z.

    `pairs[d]` = (voxels, neighbours): voxel + direction = neighbour; read backwards it serves the opposite
    one.
    """

    length: int
    pairs: tuple[tuple[Tensor, Tensor], ...]


def find_neighbours(coords: Tensor) -> NeighbourTable:
    """Table of the voxels (L, 3), which may be in any order."""
    keys = linear_keys(coords)
    extent = coords.amax() + 3
    ordered, row = keys.sort()
    if bool((ordered[1:] == ordered[:-1]).any()):
        raise ValueError("coords name a voxel twice")
    pairs = []
    for direction in range(CENTRE + 1, 27):
        dx, dy, dz = direction // 9 - 1, direction // 3 % 3 - 1, direction % 3 - 1
        wanted = ordered + (dx * extent + dy) * extent + dz
        found = torch.searchsorted(ordered, wanted).clamp_(max=len(ordered) - 1)
        hits = (ordered[found] == wanted).nonzero().squeeze(1)
        pairs.append((row[hits], row[found[hits]]))
    return NeighbourTable(len(coords), tuple(pairs))


def submanifold_conv(feats: Tensor, weight: Tensor, bias: Tensor, table: NeighbourTable) -> Tensor:
    """(L, C_in) -> (L, C_out); sums over the neighbours are kept in fp32."""
    by_direction = weight.flatten(1, 3).permute(1, 2, 0)
    out = F.linear(feats, by_direction[CENTRE].T, bias).float()
    for step, (voxels, neighbours) in enumerate(table.pairs, start=1):
        for at, to in zip(voxels.split(PAIRS_AT_ONCE), neighbours.split(PAIRS_AT_ONCE), strict=True):
            out.index_add_(0, at, (feats[to] @ by_direction[CENTRE + step]).float())
            out.index_add_(0, to, (feats[at] @ by_direction[CENTRE - step]).float())
    return out.to(feats.dtype)


class ConvWeights(nn.Module):
    """Weight (C_out, k, k, k, C_in) and bias (C_out,) under the published names."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, *[kernel_size] * 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        bound = (in_channels * kernel_size**3) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)


class SubmanifoldConv3d(nn.Module):
    """3x3x3 convolution at the occupied voxels: (L, C_in) -> (L, C_out)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = ConvWeights(in_channels, out_channels, 3)

    def forward(self, feats: Tensor, table: NeighbourTable) -> Tensor:
        return submanifold_conv(feats, self.conv.weight, self.conv.bias, table)


class PointwiseConv3d(nn.Module):
    """1x1x1 convolution as the published mesh decoder was trained with: (L, C_in) -> (L, C_out).

    The stored tensor is (C_out, 1, 1, 1, C_in), yet its memory is read as a (C_in, C_out) matrix: no
    transpose.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = ConvWeights(in_channels, out_channels, 1)

    def forward(self, feats: Tensor) -> Tensor:
        out_channels, in_channels = self.conv.weight.shape[0], self.conv.weight.shape[-1]
        return torch.addmm(self.conv.bias, feats, self.conv.weight.reshape(in_channels, out_channels))
