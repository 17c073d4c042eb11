"""Submanifold convolution: a 3x3x3 convolution at the occupied voxels only, empty ones counting as zero.

Written with gathers and matrix products, so that it runs wherever torch does and can be trained. Which voxel
neighbours which is found once per structure. Weights keep the published layout (C_out, kx, ky, kz, C_in).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from backend.layers.sparse import linear_keys

CENTRE = 13
"""Direction (0, 0, 0) of the 27 in the order x, y, z."""
ROWS_ON_PROCESSOR = 1 << 13
"""Rows gathered at a time: few enough to stay in a processor's cache until they are multiplied and added."""
ROWS_ON_ACCELERATOR = 1 << 18
"""Rows gathered at a time: bounds the memory on the mesh decoder's finest grid (over a million voxels)."""


class ConvolutionTable(Protocol):
    """What an engine knows of L voxels so that it can convolve them; made once per structure."""

    def convolve(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """3x3x3 convolution at the voxels: (L, C_in) -> (L, C_out), weight (C_out, 3, 3, 3, C_in)."""

    def convolve_children(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same at their children, which are copies of them: (L, C_in) -> (8L, C_out)."""

    def subdivide(self) -> Self:
        """The table of the 8L children in the order of `subdivide_coords`."""


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

    def convolve(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return submanifold_conv(feats, weight, bias, self)

    def convolve_children(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return subdivided_conv(feats, weight, bias, self)

    def subdivide(self) -> "NeighbourTable":
        return subdivide_neighbours(self)


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


Reach = tuple[tuple[slice, slice], ...]
"""Along one axis, for the neighbour before, the voxel itself and the neighbour after: the taps of the weight
that serve it, the places of the voxel that they fill."""
PLAIN: Reach = tuple((slice(step, step + 1), slice(0, 1)) for step in range(3))
FOLDED: Reach = ((slice(0, 1), slice(0, 1)), (slice(1, 3), slice(0, 2)), (slice(3, 4), slice(1, 2)))
TAPS = ((0,), (1, 2), (0, 1), (2,))
"""Along one axis: kernel taps of the first child that reach the parent before and its own, then those of the
second child that reach its own parent and the one after."""


def submanifold_conv(feats: Tensor, weight: Tensor, bias: Tensor, table: NeighbourTable) -> Tensor:
    """(L, C_in) -> (L, C_out), weight (C_out, 3, 3, 3, C_in); sums over the neighbours are kept in fp32."""
    return _convolve(feats, weight.permute(1, 2, 3, 4, 0), bias, table, PLAIN)


def subdivided_conv(feats: Tensor, weight: Tensor, bias: Tensor, table: NeighbourTable) -> Tensor:
    """`submanifold_conv` of the subdivided voxels, (L, C_in) -> (8L, C_out), with the table of the parents.

    Children are copies of their parent, so taps that reach the same parent are added up first: 64 matrix
    products a voxel instead of 216.
    """
    folded = weight.float()
    for axis in (1, 2, 3):
        planes = folded.unbind(axis)
        sums = [torch.stack([planes[tap] for tap in taps]).sum(0) for taps in TAPS]
        folded = torch.stack(sums, dim=axis)
    return _convolve(feats, folded.to(weight.dtype).permute(1, 2, 3, 4, 0), bias, table, FOLDED)


def _convolve(feats: Tensor, weight: Tensor, bias: Tensor, table: NeighbourTable, reach: Reach) -> Tensor:
    device = feats.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        feats, weight, bias = feats.to(dtype), weight.to(dtype), bias.to(dtype)
    return _GatherConv.apply(feats, weight, bias, table, reach)


class _GatherConv(torch.autograd.Function):
    """Gather, multiply, scatter, one direction after another; the gradient likewise, keeping only the input.

    feats (L, C_in) · weight (t, t, t, C_in, C_out) · places of a voxel (p, p, p): 1 itself, 8 its children.
    """

    @staticmethod
    def forward(
        ctx, feats: Tensor, weight: Tensor, bias: Tensor, table: NeighbourTable, reach: Reach
    ) -> Tensor:
        ctx.save_for_backward(feats, weight)
        ctx.table, ctx.reach = table, reach
        places = max(filled.stop for _, filled in reach)
        out = bias.float().expand(table.length, *[places] * 3, -1).clone()
        for pairs, taps, filled in _steps(table, reach):
            matrix = weight[taps].permute(3, 0, 1, 2, 4).flatten(1)
            target = out[:, *filled]
            for at, to in _lots(pairs, feats):
                product_ = _rows(feats, to) @ matrix
                _add_rows(target, at, product_.view(-1, *target.shape[1:]))
        return out.view(-1, out.shape[-1]).to(feats.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        feats, weight = ctx.saved_tensors
        places = max(filled.stop for _, filled in ctx.reach)
        by_place = grad.view(len(feats), *[places] * 3, -1)
        grad_feats = torch.zeros_like(feats, dtype=torch.float32)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        for pairs, taps, filled in _steps(ctx.table, ctx.reach):
            matrix = weight[taps].permute(3, 0, 1, 2, 4).flatten(1)
            source, target = by_place[:, *filled], grad_weight[taps]
            for at, to in _lots(pairs, feats):
                upstream = _rows(source, at).flatten(1)
                _add_rows(grad_feats, to, upstream @ matrix.T)
                change = _rows(feats, to).T @ upstream
                target += change.view(len(change), *target.shape[:3], -1).permute(1, 2, 3, 0, 4)
        grads = grad_feats.to(feats.dtype), grad_weight.to(weight.dtype), grad.sum(0)
        return *grads, None, None


Rows = Tensor | slice


def _steps(
    table: NeighbourTable, reach: Reach
) -> Iterator[tuple[tuple[Tensor, Tensor] | None, tuple[slice, ...], tuple[slice, ...]]]:
    """For each of the 27 directions: pairs (None: every voxel with itself), taps, places filled."""
    for direction, axes in enumerate(product(reach, repeat=3)):
        taps, filled = zip(*axes, strict=True)
        yield None if direction == CENTRE else table.along(direction), taps, filled


def _lots(pairs: tuple[Tensor, Tensor] | None, feats: Tensor) -> Iterator[tuple[Rows, Rows]]:
    """Split pairs so that only a bounded number of rows is gathered at a time."""
    size = ROWS_ON_PROCESSOR if feats.device.type == "cpu" else ROWS_ON_ACCELERATOR
    if pairs is None:
        for start in range(0, len(feats), size):
            rows = slice(start, start + size)
            yield rows, rows
    else:
        yield from zip(*(rows.split(size) for rows in pairs), strict=True)


def _rows(x: Tensor, rows: Rows) -> Tensor:
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


def _add_rows(x: Tensor, rows: Rows, values: Tensor) -> None:
    if isinstance(rows, slice):
        x[rows] += values
    else:
        x.index_add_(0, rows, values.float())


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

    def forward(self, feats: Tensor, table: ConvolutionTable) -> Tensor:
        return table.convolve(feats, self.conv.weight, self.conv.bias)


class SubdividedConv3d(SubmanifoldConv3d):
    """The same convolution fed the children of the voxels: (L, C_in) -> (8L, C_out), table of the parents."""

    def forward(self, feats: Tensor, table: ConvolutionTable) -> Tensor:
        return table.convolve_children(feats, self.conv.weight, self.conv.bias)


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
