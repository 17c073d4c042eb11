"""Wall time, matrix operations and memory of the stages of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from backend.machine.matrix_peak import operation_counter


@dataclass(frozen=True)
class Timing:
    """One stage: wall time, passes through its network, matrix operations, the card's high-water mark."""

    stage: str
    seconds: float = 0.0
    forward_passes: int = 0
    operations: int = 0
    device_memory_bytes: int = 0
    detail: str = ""


class Clock:
    """Gives the time since the last notice to the stage that ran; waits for the device before it looks.

    Counting the operations adds some microseconds to each of torch's calls.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stage = ""
        self._since = time.perf_counter()
        self._operations = operation_counter()
        self._counted = 0
        self._timings: dict[str, Timing] = {}

    def __enter__(self) -> Clock:
        self._operations.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._operations.__exit__(*fault)

    def notice(self, stage: str) -> None:
        """From now on it is this stage that runs."""
        if stage == self._stage:
            return
        on_card = self._device.type == "cuda"
        if on_card:
            torch.cuda.synchronize(self._device)
        now, counted = time.perf_counter(), self._operations.get_total_flops()
        if self._stage:
            memory = torch.cuda.max_memory_allocated(self._device) if on_card else 0
            self._add(now - self._since, counted - self._counted, memory)
        if on_card:
            torch.cuda.reset_peak_memory_stats(self._device)
        self._stage, self._since, self._counted = stage, now, counted

    def report(self, stage: str, done: int, of: int) -> None:
        """As `generate` reports from within long computations."""
        self.notice(stage)

    def count_passes(self, network: torch.nn.Module) -> Any:
        """Count the passes through a network from now on; the handle ends it."""
        return network.register_forward_hook(lambda *_: self._count_pass())

    def timings(self, details: dict[str, str]) -> list[Timing]:
        """All stages in the order in which they began, with what is to be said of them."""
        self.notice("")
        return [replace(one, detail=details.get(one.stage, "")) for one in self._timings.values()]

    def _add(self, seconds: float, operations: int, memory: int) -> None:
        before = self._timings.get(self._stage, Timing(self._stage))
        self._timings[self._stage] = replace(
            before,
            seconds=round(before.seconds + seconds, 4),
            operations=before.operations + operations,
            device_memory_bytes=max(before.device_memory_bytes, memory),
        )

    def _count_pass(self) -> None:
        before = self._timings.get(self._stage, Timing(self._stage))
        self._timings[self._stage] = replace(before, forward_passes=before.forward_passes + 1)
