"""Batches made ahead of the training step, in the order of their numbers.

A thread serves a processor: the kernels that make batches release the interpreter's lock. A GPU takes
thousands of scenes a second, so there every core gets a forked process of its own, which sees the part and
all meshes through the parent's memory. Arrays travel between processes through a pipe; tensors would need
shared memory, which containers often lack.
"""

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Workers:
    """How batches are made: by a thread, or by `processes`; `ahead` batches each; `pin` for a GPU."""

    processes: int = 0
    ahead: int = 2
    pin: bool = False


ONE_THREAD = Workers()


def workers_for(device: torch.device, cores: int) -> Workers:
    """A thread on a processor, whose cores have the networks to run; all cores but one beside a GPU."""
    if device.type == "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        return Workers(pin=device.type == "cuda")
    return Workers(max(1, cores - 1), pin=device.type == "cuda")


def feed(make: Callable[[int], Any], numbers: Iterator[int], workers: Workers) -> Generator[Any, None, None]:
    """The batches of those numbers; closing the generator ends its workers."""
    if workers.processes:
        loader: DataLoader[Any] = DataLoader(
            _Arrays(make),
            batch_size=None,
            sampler=numbers,  # type: ignore[arg-type]  # any iterable will do
            num_workers=workers.processes,
            prefetch_factor=workers.ahead,
            collate_fn=_unchanged,
            multiprocessing_context="fork",
        )
        for batch in loader:
            yield to_tensors(batch, workers.pin)
        return
    with ThreadPoolExecutor(1) as pool:
        queue = deque(pool.submit(make, number) for number in itertools.islice(numbers, workers.ahead))
        try:
            while queue:
                batch = queue.popleft().result()
                queue.extend(pool.submit(make, number) for number in itertools.islice(numbers, 1))
                yield to_tensors(batch, workers.pin)
        finally:
            pool.shutdown(cancel_futures=True)


class _Arrays(Dataset):
    def __init__(self, make: Callable[[int], Any]):
        self._make = make

    def __getitem__(self, number: int) -> Any:
        return mapped(self._make(number), lambda one: one.numpy())


def _unchanged(batch: Any) -> Any:
    return batch


def mapped(batch: Batch, change: Callable[[Any], Any]) -> Batch:
    """The same nested dataclasses and tuples with every tensor and array in them changed."""
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


def to_tensors(batch: Batch, pin: bool = False) -> Batch:
    """Arrays -> tensors, in page-locked memory if a GPU is to read them."""

    def tensor(one: Any) -> Tensor:
        result = one if isinstance(one, Tensor) else torch.from_numpy(one)
        return result.pin_memory() if pin else result

    return mapped(batch, tensor)
