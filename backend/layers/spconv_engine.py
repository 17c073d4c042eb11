"""Submanifold convolution by spconv, whose weight layout is the published one: (C_out, kx, ky, kz, C_in)."""

from functools import cache, cached_property

import torch
from spconv.core import ConvAlgo
from spconv.pytorch import SparseConvTensor, SubMConv3d
from torch import Tensor

from backend.layers.sparse import subdivide, subdivide_coords


class SpconvTable:
    """Voxels (L, 3) with the pairs that spconv finds at their first convolution.

    `algorithm`: None for spconv's own choice, which needs CUDA; ConvAlgo.Native runs on a processor too.
    """

    def __init__(self, coords: Tensor, algorithm: ConvAlgo | None = None):
        self._coords = coords
        self._algorithm = algorithm
        # Indices of another type, or not contiguous, would be read as garbage without a word.
        self._indices = torch.nn.functional.pad(coords, (1, 0)).int().contiguous()
        self._extent = (coords.amax(0) + 1).tolist()
        self._pairs: dict = {}

    def convolve(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(L, C_in) -> (L, C_out)."""
        dtype = torch.float32 if feats.dtype == torch.bfloat16 else feats.dtype  # spconv knows no bf16
        conv = _convolution(feats.shape[1], len(weight), self._algorithm, torch.is_grad_enabled())
        voxels = SparseConvTensor(
            feats.to(dtype).contiguous(), self._indices, self._extent, batch_size=1, indice_dict=self._pairs
        )
        with torch.cuda.device_of(feats):  # spconv takes the stream of the current device
            out = torch.func.functional_call(conv, {"weight": weight.to(dtype).contiguous()}, (voxels,))
        self._pairs = out.indice_dict
        return out.features.to(feats.dtype) + bias

    def convolve_children(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(L, C_in) -> (8L, C_out)."""
        return self.subdivide().convolve(subdivide(feats), weight, bias)

    def subdivide(self) -> "SpconvTable":
        """The table of the 8L children, always the same one."""
        return self._children

    @cached_property
    def _children(self) -> "SpconvTable":
        return SpconvTable(subdivide_coords(self._coords), self._algorithm)


@cache
def _convolution(
    in_channels: int, out_channels: int, algorithm: ConvAlgo | None, training: bool
) -> SubMConv3d:
    """A shell without weights. Pairs found for inference lack what a gradient needs: each has its own key."""
    conv = SubMConv3d(
        in_channels,
        out_channels,
        kernel_size=3,
        bias=False,
        indice_key="training" if training else "inference",
        algo=algorithm,
        fp32_accum=True,
    )
    return conv.to("meta").train(training)
