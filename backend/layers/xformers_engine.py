"""Window attention by xformers: all windows end to end in one call, without padding."""

import torch
from torch import Tensor
from xformers import _has_cpp_library
from xformers.ops import memory_efficient_attention
from xformers.ops.fmha.attn_bias import BlockDiagonalMask

from backend.errors import UserError
from backend.layers.window_attention import sort_by_window

if not _has_cpp_library:  # the package can be imported all the same, but has no kernel then
    raise ImportError("xformers was built for another CUDA than torch")


class PackedWindows:
    """Voxels (L, 3) cut into windows: `rows` (L,) window after window, `places` (L,) the way back."""

    def __init__(self, coords: Tensor, window_size: int, shift: int):
        self.rows, lengths = sort_by_window(coords, window_size, shift)
        self.places = torch.argsort(self.rows)
        self.mask = BlockDiagonalMask.from_seqlens(lengths.tolist(), device=coords.device)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (L, H, D) -> (L, H, D)."""
        packed = (part[self.rows][None] for part in (q, k, v))
        try:
            attended = memory_efficient_attention(*packed, attn_bias=self.mask)
        except NotImplementedError as error:
            raise UserError(
                f"xformers has no attention kernel for {q.dtype} on this card: choose the engine torch."
            ) from error
        return attended[0][self.places]
