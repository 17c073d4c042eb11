"""What a machine's matrix products reach, and how many operations of that kind a piece of work holds."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count

SIDE = 1536
SECONDS = 0.3
"""How long the best of several products is looked for."""


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the best square matrix product, at torch's number of threads.

    Two operations, a product and a sum, for every pair of numbers.
    """
    a = torch.randn(SIDE, SIDE, device=device).to(dtype)
    fastest, ends = float("inf"), time.perf_counter() + SECONDS
    _timed_product(a)
    while time.perf_counter() < ends or fastest == float("inf"):
        fastest = min(fastest, _timed_product(a))
    return 2 * SIDE**3 / fastest


def _timed_product(a: torch.Tensor) -> float:
    """Seconds; the number that is read makes the device finish."""
    began = time.perf_counter()
    (a @ a)[0, 0].item()
    return time.perf_counter() - began


def operation_counter() -> FlopCounterMode:
    """A context that counts the operations of matrix products, convolutions and attention within it."""
    aten = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={
            aten.mkldnn_convolution: _convolution,
            aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        },
    )


def _convolution(x_shape, w_shape, *args, out_shape, **kwargs) -> int:
    return conv_flop_count(x_shape, w_shape, out_shape)


def _attention(query_shape, key_shape, value_shape, *args, **kwargs) -> int:
    return sdpa_flop_count(query_shape, key_shape, value_shape)
