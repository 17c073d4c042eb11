"""Batches as nested dataclasses and tuples of tensors: moved to a device, pinned, or turned into arrays.

Arrays travel between processes through a pipe; tensors would need shared memory, which containers often lack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Batch = TypeVar("Batch")


def mapped(batch: Batch, change: Callable[[Any], Any]) -> Batch:
    """The same batch with every tensor and array in it changed."""
    if isinstance(batch, (Tensor, np.ndarray)):
        return change(batch)
    if isinstance(batch, tuple):
        return tuple(mapped(one, change) for one in batch)  # type: ignore[return-value]
    if is_dataclass(batch) and not isinstance(batch, type):
        values = {f.name: mapped(getattr(batch, f.name), change) for f in fields(batch)}
        return replace(batch, **values)
    return batch


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device; from pinned memory without waiting for the copy."""
    return mapped(batch, lambda one: one.to(device, non_blocking=True))


def to_arrays(batch: Batch) -> Batch:
    """Tensors -> arrays that share their memory."""
    return mapped(batch, lambda one: one.numpy())


def to_tensors(batch: Batch, pin: bool = False) -> Batch:
    """Arrays -> tensors, in page-locked memory if a GPU is to read them."""

    def tensor(one: Any) -> Tensor:
        result = one if isinstance(one, Tensor) else torch.from_numpy(one)
        return result.pin_memory() if pin else result

    return mapped(batch, tensor)
