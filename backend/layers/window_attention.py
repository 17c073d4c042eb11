"""Attention among the voxels of one cubic window; every other block shifts the windows by half their size.

Windows hang on the origin of the grid, do not wrap around and never see each other (Swin windows without mask
or bias). They hold between one voxel and window_size^3, so they are padded to a few common lengths and
attended in batches; which row goes where is worked out once per structure.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

SLACK = 8
"""A window may be padded by an eighth of its length and this many tokens."""
MULTIPLE = 8
"""Padded lengths are multiples of this, as the fast attention kernels want their masks."""


class AttentionTable(Protocol):
    """What an engine knows of a structure's windows; made once per structure."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of each voxel to its own window: q, k, v (L, H, D) -> (L, H, D)."""


@dataclass(frozen=True)
class WindowBatch:
    """Windows of similar length: `rows` (N, P) voxel of each place, `mask` (N, 1, 1, P) where it is real."""

    rows: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Windows:
    """A structure cut into windows; `places` (L,) is where each voxel lies in the batches laid end to end."""

    batches: tuple[WindowBatch, ...]
    places: Tensor

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend_within(self, q, k, v)


def window_ids(coords: Tensor, window_size: int, shift: int) -> Tensor:
    """Number of the window of each voxel, in the order x, y, z: coords (L, 3) -> (L,) int64."""
    windows = (coords.long() + shift) // window_size
    counts = windows.amax(0) + 1
    return (windows[:, 0] * counts[1] + windows[:, 1]) * counts[2] + windows[:, 2]


def sort_by_window(coords: Tensor, window_size: int, shift: int) -> tuple[Tensor, Tensor]:
    """Rows of the voxels (L, 3), window after window: (L,), and the number of voxels in each window (W,)."""
    _, window, lengths = torch.unique(
        window_ids(coords, window_size, shift), return_inverse=True, return_counts=True
    )
    return torch.argsort(window, stable=True), lengths


def cut_into_windows(coords: Tensor, window_size: int, shift: int) -> Windows:
    """Sort voxels (L, 3) into windows of `window_size` voxels whose borders are moved by -`shift`."""
    by_window, lengths = sort_by_window(coords, window_size, shift)
    starts = lengths.cumsum(0) - lengths
    by_length = torch.argsort(lengths, descending=True, stable=True)
    places = torch.empty_like(by_window)
    batches = []
    used = 0
    for chosen, padded in _batches_of_similar_length(by_length, lengths[by_length].tolist()):
        within = torch.arange(padded, device=coords.device)
        real = within < lengths[chosen, None]
        rows = by_window[torch.where(real, starts[chosen, None] + within, starts[chosen, None])]
        positions = used + torch.arange(rows.numel(), device=coords.device).view_as(rows)
        places[rows[real]] = positions[real]
        batches.append(WindowBatch(rows, None if bool(real.all()) else real[:, None, None, :]))
        used += rows.numel()
    return Windows(tuple(batches), places)


def _batches_of_similar_length(by_length: Tensor, lengths: list[int]) -> list[tuple[Tensor, int]]:
    """Split windows sorted by falling length so that little is padded: (windows, padded length) each."""
    batches = []
    start = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or lengths[start] > lengths[end] + lengths[end] // 8 + SLACK:
            padded = -(-lengths[start] // MULTIPLE) * MULTIPLE
            batches.append((by_length[start:end], padded))
            start = end
    return batches


def attend_within(windows: Windows, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each voxel to its own window: q, k, v (L, H, D) -> (L, H, D)."""
    attended = []
    for batch in windows.batches:
        q_, k_, v_ = (part[batch.rows].transpose(1, 2) for part in (q, k, v))
        heads = F.scaled_dot_product_attention(q_, k_, v_, attn_mask=batch.mask)
        attended.append(heads.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended)[windows.places]
