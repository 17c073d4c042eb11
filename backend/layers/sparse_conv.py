"""Submanifold convolution: a 3x3x3 convolution at the occupied voxels only, empty ones counting as zero.

Written with gathers and matrix products, so that it runs wherever torch does and can be trained. Which voxel
neighbours which is found once per structure. Weights keep the published layout (C_out, kx, ky, kz, C_in).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from backend.layers.sparse import linear_keys

CENTRE = 13
"""Direction (0, 0, 0) of the 27 in the order x, y, z."""
PAIRS_AT_ONCE = 1 << 18
"""Rows gathered at a time: bounds the memory on the mesh decoder's finest grid (over a million voxels)."""


@dataclass(frozen=True)
class NeighbourTable:
    """Which of L voxels are neighbours, along the 13 directions after (0, 0, 0) in the order x, y, z.

    `pairs[d]` = (voxels, neighbours), int32 rows with voxel + direction = neighbour.
    """

    length: int
    pairs: tuple[tuple[Tensor, Tensor], ...]

    def along(self, direction: int) -> tuple[Tensor, Tensor]:
        """(voxels, neighbours) of any direction but the centre; the first 13 are the last read backwards."""
        if direction > CENTRE:
            return self.pairs[direction - CENTRE - 1]
        neighbours, voxels = self.pairs[CENTRE - 1 - direction]
        return voxels, neighbours


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
        pairs.append((row[hits].int(), row[found[hits]].int()))
    return NeighbourTable(len(coords), tuple(pairs))


def subdivide_neighbours(table: NeighbourTable) -> NeighbourTable:
    """Table of the children that `subdivide_coords` makes, from that of their parents, without a search."""
    device = table.pairs[0][0].device
    everyone = torch.arange(table.length, dtype=torch.int32, device=device)
    pairs = []
    for direction in product((-1, 0, 1), repeat=3):
        if direction <= (0, 0, 0):
            continue
        voxels, neighbours = [], []
        for child in product((0, 1), repeat=3):
            moved = [place + step for place, step in zip(child, direction, strict=True)]
            parents = _number([step // 2 + 1 for step in moved], base=3)
            at, to = (everyone, everyone) if parents == CENTRE else table.along(parents)
            voxels.append(8 * at + _number(child, base=2))
            neighbours.append(8 * to + _number([step % 2 for step in moved], base=2))
        pairs.append((torch.cat(voxels), torch.cat(neighbours)))
    return NeighbourTable(8 * table.length, tuple(pairs))


def _number(digits: Sequence[int], base: int) -> int:
    x, y, z = digits
    return (x * base + y) * base + z


def submanifold_conv(feats: Tensor, weight: Tensor, bias: Tensor, table: NeighbourTable) -> Tensor:
    """(L, C_in) -> (L, C_out); sums over the neighbours are kept in fp32."""
    by_direction = weight.flatten(1, 3).permute(1, 2, 0)
    out = torch.addmm(bias, feats, by_direction[CENTRE]).float()
    for direction in range(27):
        if direction != CENTRE:
            _add_neighbours(out, feats, by_direction[direction], table.along(direction))
    return out.to(feats.dtype)


def _add_neighbours(out: Tensor, feats: Tensor, weight: Tensor, pairs: tuple[Tensor, Tensor]) -> None:
    """out[voxel] += feats[neighbour] @ weight for every pair, a bounded number at a time."""
    shape = (-1, *out.shape[1:])
    for at, to in zip(*(rows.split(PAIRS_AT_ONCE) for rows in pairs), strict=True):
        out.index_add_(0, at, (feats.index_select(0, to) @ weight).view(shape).float())


TAPS = ((0,), (1, 2), (0, 1), (2,))
"""Along one axis: kernel taps of the first child that reach the parent before and its own, then those of the
second child that reach its own parent and the one after."""
REACH = ((slice(0, 1), slice(0, 1)), (slice(1, 3), slice(0, 2)), (slice(3, 4), slice(1, 2)))
"""Along one axis, for the parent before, the own one and the one after: which TAPS, which children."""


def subdivided_conv(feats: Tensor, weight: Tensor, bias: Tensor, table: NeighbourTable) -> Tensor:
    """`submanifold_conv` of the subdivided voxels, (L, C_in) -> (8L, C_out), with the table of the parents.

    Children are copies of their parent, so taps that reach the same parent are added up first: 64 matrix
    products a voxel instead of 216.
    """
    folded = _fold_taps(weight.float()).to(feats.dtype)
    out = bias.float().expand(table.length, 2, 2, 2, -1).clone()
    everyone = torch.arange(table.length, dtype=torch.int32, device=feats.device)
    for direction, reach in enumerate(product(REACH, repeat=3)):
        taps, children = zip(*reach, strict=True)
        pairs = (everyone, everyone) if direction == CENTRE else table.along(direction)
        matrix = folded[:, *taps].permute(4, 1, 2, 3, 0).flatten(1)
        _add_neighbours(out[:, *children], feats, matrix, pairs)
    return out.view(8 * table.length, -1).to(feats.dtype)


def _fold_taps(weight: Tensor) -> Tensor:
    """(C_out, 3, 3, 3, C_in) -> (C_out, 4, 4, 4, C_in): sums of TAPS along every axis."""
    for axis in (1, 2, 3):
        planes = weight.unbind(axis)
        weight = torch.stack([torch.stack([planes[tap] for tap in taps]).sum(0) for taps in TAPS], dim=axis)
    return weight


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


class SubdividedConv3d(SubmanifoldConv3d):
    """The same convolution fed the children of the voxels: (L, C_in) -> (8L, C_out), table of the parents."""

    def forward(self, feats: Tensor, table: NeighbourTable) -> Tensor:
        return subdivided_conv(feats, self.conv.weight, self.conv.bias, table)


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
