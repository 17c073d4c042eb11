"""Which voxels of one object neighbour which; after they are found nothing waits for the device."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backend.layers.sparse import CHILDREN, linear_keys
from backend.layers.submanifold import CENTRE, Pairs, subdivided_conv, submanifold_conv


class NeighbourTable(ABC):
    """A `ConvolutionTable` of torch's own; the directions are 27 in the order x, y, z."""

    @property
    @abstractmethod
    def counts(self) -> tuple[int, ...]:
        """How many voxels have a neighbour along each direction; at the centre all, being their own."""

    @property
    @abstractmethod
    def rows(self) -> Tensor:
        """(L, 27) int32: row of the neighbour along each direction; L for none."""

    @property
    @abstractmethod
    def pairs(self) -> tuple[Pairs, ...]:
        """(voxels, neighbours), int32, of each of the 13 directions after the centre."""

    def along(self, direction: int) -> Pairs:
        """(voxels, neighbours) of any direction but the centre; the first 13 are the last read backwards."""
        if direction > CENTRE:
            return self.pairs[direction - CENTRE - 1]
        neighbours, voxels = self.pairs[CENTRE - 1 - direction]
        return voxels, neighbours

    def __len__(self) -> int:
        return self.counts[CENTRE]

    @property
    def filled(self) -> float:
        """The share of the neighbours that exist: 1/27 to 1."""
        return sum(self.counts) / (27 * len(self))

    def convolve(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Features (N, C) of the voxels, convolved over their neighbours."""
        return submanifold_conv(feats, weight, bias, self)

    def convolve_children(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same of the children (8 N, C') that the voxels are divided into."""
        return subdivided_conv(feats, weight, bias, self)

    def subdivide(self) -> "NeighbourTable":
        """The table of the children."""
        return ChildNeighbours(self)


@dataclass(frozen=True)
class FoundNeighbours(NeighbourTable):
    """Neighbours of L voxels as a search found them."""

    length: int
    found: tuple[Pairs, ...]

    @property
    def pairs(self) -> tuple[Pairs, ...]:
        return self.found

    @property
    def counts(self) -> tuple[int, ...]:
        after = tuple(len(voxels) for voxels, _ in self.pairs)
        return (*reversed(after), self.length, *after)

    @cached_property
    def rows(self) -> Tensor:
        device = self.pairs[0][0].device
        rows = torch.full((27, self.length), self.length, dtype=torch.int32, device=device)
        for direction in range(27):
            if direction != CENTRE:
                voxels, neighbours = self.along(direction)
                rows[direction].index_copy_(0, voxels.long(), neighbours)
        rows[CENTRE] = torch.arange(self.length, device=device)
        return rows.T.contiguous()


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
    return FoundNeighbours(len(coords), tuple(pairs))


@dataclass(frozen=True)
class ChildNeighbours(NeighbourTable):
    """Neighbours of the children that `subdivide_coords` makes; those of their parents tell them."""

    parents: NeighbourTable

    @cached_property
    def counts(self) -> tuple[int, ...]:
        counts = torch.tensor(self.parents.counts, device="cpu")
        return tuple(counts[PARENT_DIRECTIONS].sum(0).tolist())

    @cached_property
    def rows(self) -> Tensor:
        rows = self.parents.rows
        moved = CHILDREN * rows[:, PARENT_DIRECTIONS.to(rows.device)]
        moved += REACHED_CHILDREN.to(rows.device, torch.int32)
        return moved.clamp_(max=len(self)).flatten(0, 1)

    @cached_property
    def pairs(self) -> tuple[Pairs, ...]:
        return tuple(self._pairs_along(direction) for direction in range(CENTRE + 1, 27))

    def _pairs_along(self, direction: int) -> Pairs:
        voxels, neighbours = [], []
        for child in range(CHILDREN):
            parent_direction = int(PARENT_DIRECTIONS[child, direction])
            at, to = self._parents_along(parent_direction)
            voxels.append(CHILDREN * at + child)
            neighbours.append(CHILDREN * to + int(REACHED_CHILDREN[child, direction]))
        return torch.cat(voxels), torch.cat(neighbours)

    def _parents_along(self, direction: int) -> Pairs:
        if direction != CENTRE:
            return self.parents.along(direction)
        device = self.parents.pairs[0][0].device
        everyone = torch.arange(len(self.parents), dtype=torch.int32, device=device)
        return everyone, everyone


def _of_three_axes(digits: Tensor, base: int) -> Tensor:
    """Digits (2, 3) of the children and directions of one axis -> numbers (8, 27) of all three axes."""
    along_y_z = (base * digits[:, None, :, None] + digits[None, :, None, :]).reshape(4, 9)
    return (base**2 * digits[:, None, :, None] + along_y_z[None, :, None, :]).reshape(8, 27)


_REACHED = torch.arange(2, device="cpu")[:, None] + torch.arange(-1, 2, device="cpu")
PARENT_DIRECTIONS = _of_three_axes(_REACHED // 2 + 1, base=3)
"""(8, 27): direction from a child's parent to the parent of its neighbour along each direction."""
REACHED_CHILDREN = _of_three_axes(_REACHED % 2, base=2)
"""(8, 27): which child of that parent the neighbour is."""
