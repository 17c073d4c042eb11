"""Submanifold convolution: a 3x3x3 convolution at the occupied voxels only, empty ones counting as zero.

Gathers and matrix products, so that it runs wherever torch does and can be trained. There are two ways to the
same sums, and each convolution takes the cheaper one. `_WholeConv` gathers all 27 neighbours of a block of
voxels, zeros for those that are missing, and multiplies once: nothing is added up outside the matrix product.
`_PairConv` takes one direction after another and multiplies only the pairs that exist, but must add every
product to its voxel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

CENTRE = 13
"""Direction (0, 0, 0) of the 27 in the order x, y, z."""
VOXELS_ON_PROCESSOR = 512
"""Voxels gathered whole at a time: few enough to stay in a processor's cache until they are multiplied."""
VOXELS_ON_ACCELERATOR = 1 << 15
"""Voxels gathered whole at a time: bounds the memory on the mesh decoder's finest grid (over a million)."""
PAIRS_ON_PROCESSOR = 1 << 13
PAIRS_ON_ACCELERATOR = 1 << 18
"""The same for pairs, of which one direction is gathered at a time."""
ADDING = 128
ADDING_IN_HALF_PRECISION = 200
"""What adding a product to its voxel costs, in input channels that could be multiplied meanwhile; measured on
processors at 32 to 1024 channels. Half precision multiplies faster but adds no faster; where gradients are
wanted it gains less, and the lower figure is right for both precisions."""


Pairs = tuple[Tensor, Tensor]


class Neighbours(Protocol):
    """Which of L voxels are neighbours."""

    @property
    def rows(self) -> Tensor:
        """(L, 27) int32: row of the neighbour along each direction in the order x, y, z, L for none."""

    def along(self, direction: int) -> Pairs:
        """(voxels, neighbours) of any direction but the centre, int32: voxel + direction = neighbour."""

    @property
    def filled(self) -> float:
        """The share of the neighbours that exist, each voxel being its own: 1/27 to 1."""


Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Stencil:
    """Along one axis: which taps of the weight lead from a direction to a place of the voxel.

    A voxel has one place, itself, or two for its children.
    """

    taps: tuple[tuple[int, int], ...]
    """(direction 0 to 2, place) of each tap."""
    by_direction: tuple[tuple[slice, slice], ...]
    """(taps, places) of each direction."""
    by_place: tuple[tuple[slice, slice], ...]
    """(taps, directions) of each place."""


PLAIN = Stencil(
    taps=((0, 0), (1, 0), (2, 0)),
    by_direction=tuple((slice(step, step + 1), slice(0, 1)) for step in range(3)),
    by_place=((slice(0, 3), slice(0, 3)),),
)
FOLDED = Stencil(
    taps=((0, 0), (1, 0), (1, 1), (2, 1)),
    by_direction=((slice(0, 1), slice(0, 1)), (slice(1, 3), slice(0, 2)), (slice(3, 4), slice(1, 2))),
    by_place=((slice(0, 2), slice(0, 2)), (slice(2, 4), slice(1, 3))),
)
KERNEL_TAPS = ((0,), (1, 2), (0, 1), (2,))
"""Taps of the kernel that each of the four of `FOLDED` adds up: those of the first child that reach the
parent before and its own, then those of the second child that reach its own parent and the one after."""


def submanifold_conv(feats: Tensor, weight: Tensor, bias: Tensor, table: Neighbours) -> Tensor:
    """(L, C_in) -> (L, C_out), weight (C_out, 3, 3, 3, C_in); sums over the neighbours are kept in fp32."""
    return _convolve(feats, weight.permute(1, 2, 3, 4, 0), bias, table, PLAIN)


def subdivided_conv(feats: Tensor, weight: Tensor, bias: Tensor, table: Neighbours) -> Tensor:
    """`submanifold_conv` of the subdivided voxels, (L, C_in) -> (8L, C_out), with the table of the parents.

    Children are copies of their parent, so taps that reach the same parent are added up first: 64 matrix
    products a voxel instead of 216.
    """
    folded = weight.float()
    for axis in (1, 2, 3):
        planes = folded.unbind(axis)
        sums = [torch.stack([planes[tap] for tap in taps]).sum(0) for taps in KERNEL_TAPS]
        folded = torch.stack(sums, dim=axis)
    return _convolve(feats, folded.to(weight.dtype).permute(1, 2, 3, 4, 0), bias, table, FOLDED)


def _convolve(feats: Tensor, weight: Tensor, bias: Tensor, table: Neighbours, stencil: Stencil) -> Tensor:
    device = feats.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        feats, weight, bias = feats.to(dtype), weight.to(dtype), bias.to(dtype)
    way = _WholeConv if is_cheaper_whole(feats, weight, table) else _PairConv
    return way.apply(feats, weight, bias, table, stencil)


def is_cheaper_whole(feats: Tensor, weight: Tensor, table: Neighbours) -> bool:
    """Whether multiplying the missing neighbours too costs less than adding up the products of the others."""
    trains = torch.is_grad_enabled() and (feats.requires_grad or weight.requires_grad)
    adding = ADDING if trains or feats.dtype == torch.float32 else ADDING_IN_HALF_PRECISION
    channels = feats.shape[1]
    return channels < table.filled * (channels + adding)


def _places(stencil: Stencil) -> Iterator[tuple[Slices, Slices]]:
    """For each place of a voxel: its taps and the directions they come from."""
    for axes in product(stencil.by_place, repeat=3):
        taps, directions = zip(*axes, strict=True)
        yield taps, directions


def _with_zeros(x: Tensor) -> Tensor:
    """(L, C) -> (L + 1, C): the row that missing neighbours read."""
    return torch.cat([x, x.new_zeros(1, x.shape[1])])


def _blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Voxels and their neighbours (B, 3, 3, 3), few at a time."""
    size = VOXELS_ON_PROCESSOR if rows.device.type == "cpu" else VOXELS_ON_ACCELERATOR
    for start, block in zip(range(0, len(rows), size), rows.split(size), strict=True):
        yield slice(start, start + size), block.unflatten(1, (3, 3, 3))


def _gather(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of x (L, C) side by side: rows (B, ...) of n numbers each -> (B, n * C)."""
    return x.index_select(0, rows.flatten()).view(len(rows), -1)


class _WholeConv(torch.autograd.Function):
    """Gather all neighbours of a block of voxels and multiply once; the gradient likewise.

    feats (L, C_in) · weight (t, t, t, C_in, C_out), t taps of the stencil.
    """

    @staticmethod
    def forward(
        ctx, feats: Tensor, weight: Tensor, bias: Tensor, table: Neighbours, stencil: Stencil
    ) -> Tensor:
        ctx.save_for_backward(feats, weight)
        ctx.table, ctx.stencil = table, stencil
        places = [(weight[taps].flatten(0, 3), directions) for taps, directions in _places(stencil)]
        out = feats.new_empty(len(feats), len(places), weight.shape[-1])
        source = _with_zeros(feats)
        for voxels, neighbours in _blocks(table.rows):
            for place, (matrix, directions) in enumerate(places):
                gathered = _gather(source, neighbours[:, *directions])
                out[voxels, place] = torch.addmm(bias, gathered, matrix)
        return out.flatten(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        feats, weight = ctx.saved_tensors
        grad_feats = _gradient_of_feats(grad, weight, ctx.table, ctx.stencil)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        by_place = grad.view(len(feats), -1, grad.shape[1])
        source = _with_zeros(feats)
        for voxels, neighbours in _blocks(ctx.table.rows):
            for place, (taps, directions) in enumerate(_places(ctx.stencil)):
                gathered = _gather(source, neighbours[:, *directions])
                target = grad_weight[taps]
                target += (gathered.T @ by_place[voxels, place]).view_as(target)
        return grad_feats, grad_weight.to(weight.dtype), grad.sum(0), None, None


def _gradient_of_feats(grad: Tensor, weight: Tensor, table: Neighbours, stencil: Stencil) -> Tensor:
    """Gradient (places * L, C_out) -> (L, C_in): each voxel gathers from those that had gathered it."""
    count = len(stencil.by_place)
    directions, places = torch.tensor(stencil.taps, dtype=torch.int32, device=grad.device).unbind(1)
    place = (places[:, None, None] * count + places[:, None]) * count + places
    back = 2 - directions.long()
    matrix = weight.transpose(3, 4).flatten(0, 3)
    source = _with_zeros(grad)
    out = grad.new_empty(len(table.rows), weight.shape[3])
    for voxels, neighbours in _blocks(table.rows):
        rows = neighbours[:, back][:, :, back][:, :, :, back] * count**3 + place
        out[voxels] = _gather(source, rows.clamp_(max=len(grad))) @ matrix
    return out


class _PairConv(torch.autograd.Function):
    """Gather, multiply, scatter, one direction after another; the gradient likewise, keeping only the input.

    feats (L, C_in) · weight (t, t, t, C_in, C_out), t taps of the stencil.
    """

    @staticmethod
    def forward(
        ctx, feats: Tensor, weight: Tensor, bias: Tensor, table: Neighbours, stencil: Stencil
    ) -> Tensor:
        ctx.save_for_backward(feats, weight)
        ctx.table, ctx.stencil = table, stencil
        centre = feats @ _centre(weight, stencil).flatten(1)
        out = centre.view(len(feats), *[len(stencil.by_place)] * 3, -1).float() + bias.float()
        for pairs, taps, places in _steps(table, stencil):
            matrix = weight[taps].permute(3, 0, 1, 2, 4).flatten(1)
            target = out[:, *places]
            for at, to in _lots(pairs):
                product_ = feats.index_select(0, to) @ matrix
                target.index_add_(0, at, product_.view(-1, *target.shape[1:]).float())
        return out.view(-1, out.shape[-1]).to(feats.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        feats, weight = ctx.saved_tensors
        by_place = grad.view(len(feats), *[len(ctx.stencil.by_place)] * 3, -1)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        all_places, centre = by_place.flatten(1), _centre(weight, ctx.stencil)
        grad_feats = (all_places @ centre.flatten(1).T).float()
        _centre(grad_weight, ctx.stencil).copy_((feats.T @ all_places).view_as(centre))
        for pairs, taps, places in _steps(ctx.table, ctx.stencil):
            matrix = weight[taps].permute(3, 0, 1, 2, 4).flatten(1)
            source, target = by_place[:, *places], grad_weight[taps]
            for at, to in _lots(pairs):
                upstream = source.index_select(0, at).flatten(1)
                grad_feats.index_add_(0, to, (upstream @ matrix.T).float())
                change = feats.index_select(0, to).T @ upstream
                target += change.view(len(change), *target.shape[:3], -1).permute(1, 2, 3, 0, 4)
        grads = grad_feats.to(feats.dtype), grad_weight.to(weight.dtype), grad.sum(0)
        return *grads, None, None


def _centre(weight: Tensor, stencil: Stencil) -> Tensor:
    """The taps by which each voxel reaches its own places: a view (C_in, p, p, p, C_out)."""
    taps, _ = stencil.by_direction[1]
    return weight[taps, taps, taps].permute(3, 0, 1, 2, 4)


def _steps(table: Neighbours, stencil: Stencil) -> Iterator[tuple[Pairs, Slices, Slices]]:
    """For each of the 26 directions to others: pairs, taps, places."""
    for direction, axes in enumerate(product(stencil.by_direction, repeat=3)):
        if direction != CENTRE:
            taps, places = zip(*axes, strict=True)
            yield table.along(direction), taps, places


def _lots(pairs: Pairs) -> Iterator[Pairs]:
    """Split pairs so that only a bounded number of rows is gathered at a time."""
    size = PAIRS_ON_PROCESSOR if pairs[0].device.type == "cpu" else PAIRS_ON_ACCELERATOR
    yield from zip(*(rows.split(size) for rows in pairs), strict=True)
