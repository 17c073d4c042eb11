"""Convolution of dense volumes that takes oneDNN's kernels where torch would not."""

import torch
from torch import Tensor, nn


class DenseConv3d(nn.Conv3d):
    """nn.Conv3d of a volume (B, C_in, X, Y, Z), same parameters.

    For small volumes in fp32 torch keeps to an older kernel, which is 1.5 to 4 times slower on a processor.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
            return super().forward(x)
        if torch.is_autocast_enabled("cpu") or isinstance(self.padding, str) or self.padding_mode != "zeros":
            return super().forward(x)
        where = self.padding, self.stride, self.dilation, self.groups
        return torch.mkldnn_convolution(x, self.weight, self.bias, *where)
