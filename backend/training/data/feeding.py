"""Batches made ahead of the training step, in order of their numbers whatever worker is done first.

Threads serve a processor: the kernels that make batches release the interpreter's lock. A GPU wants thousands
of scenes a second, so there every core gets a forked process of its own, which sees the part and all meshes
through the parent's memory; nothing but arrays crosses between them.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from backend.training.data.batches import to_arrays, to_tensors

_make: Callable[[int], Any] | None = None  # in a worker process: what it makes


@dataclass(frozen=True)
class Workers:
    """How batches are made: `count` threads, or forked processes, `ahead` batches each; `pin` for a GPU."""

    count: int = 1
    processes: bool = False
    ahead: int = 2
    pin: bool = False


ONE_THREAD = Workers()


def workers_for(device: torch.device, cores: int) -> Workers:
    """A thread on a processor, whose cores have the networks to run; all cores but one beside a GPU."""
    if device.type == "cpu":
        return ONE_THREAD
    forks = "fork" in multiprocessing.get_all_start_methods()
    return Workers(max(1, cores - 1), forks, 2, device.type == "cuda")


class Feeder:
    """Iterator over the batches of `numbers`; a context manager that ends its workers."""

    def __init__(self, make: Callable[[int], Any], numbers: Iterator[int], workers: Workers):
        self._numbers = numbers
        self._pin = workers.pin
        self._wanted = workers.count * workers.ahead
        self._queue: deque[Future[Any]] = deque()
        self._pool: ProcessPoolExecutor | ThreadPoolExecutor
        if workers.processes:
            self._pool = ProcessPoolExecutor(
                workers.count,
                mp_context=multiprocessing.get_context("fork"),
                initializer=_begin,
                initargs=(make,),
            )
            self._call: Callable[[int], Any] = _made
        else:
            self._pool = ThreadPoolExecutor(workers.count)
            self._call = make
        self._landing = ThreadPoolExecutor(1)

    def __enter__(self) -> Feeder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future in self._queue:
            future.cancel()
        self._landing.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Feeder:
        return self

    def __next__(self) -> Any:
        while len(self._queue) <= self._wanted:
            number = next(self._numbers, None)
            if number is None:
                break
            made = self._pool.submit(self._call, number)
            self._queue.append(self._landing.submit(self._land, made))
        if not self._queue:
            raise StopIteration
        return self._queue.popleft().result()

    def _land(self, made: Future[Any]) -> Any:
        return to_tensors(made.result(), self._pin)


def _begin(make: Callable[[int], Any]) -> None:
    global _make
    _make = make
    torch.set_num_threads(1)


def _made(number: int) -> Any:
    assert _make is not None
    return to_arrays(_make(number))
