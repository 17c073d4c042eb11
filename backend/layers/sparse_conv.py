"""Convolutions at the occupied voxels of one object, with the published parameter names and weight layout."""

from typing import Protocol, Self

import torch
from torch import Tensor, nn


class ConvolutionTable(Protocol):
    """What an engine knows of L voxels so that it can convolve them; made once per structure."""

    def convolve(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """3x3x3 convolution at the voxels: (L, C_in) -> (L, C_out), weight (C_out, 3, 3, 3, C_in)."""

    def convolve_children(self, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same at their children, which are copies of them: (L, C_in) -> (8L, C_out)."""

    def subdivide(self) -> Self:
        """The table of the 8L children in the order of `subdivide_coords`."""


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
