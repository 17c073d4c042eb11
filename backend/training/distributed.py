"""Several processes that train one module, started by `torchrun`: who I am, and what we agree on.

Every process sees other scenes, gradients are averaged after the backward pass, and process 0 alone writes.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from backend.errors import UserError

_PATIENCE = timedelta(days=1)
"""What processes wait for each other at most: one alone measures and exports between the parts."""


@dataclass(frozen=True)
class World:
    """`rank` of `size` processes; `control` is the group in which numbers are agreed on by processors."""

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process logs and writes."""
        return self.rank == 0

    def agree(self, *numbers: float) -> tuple[float, ...]:
        """The numbers of process 0, on every process."""
        if self.size == 1:
            return numbers
        table = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(table, 0, group=self.control)
        return tuple(table.tolist())

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier(group=self.control)

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the values of process 0, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """The mean of all processes' gradients, in place; unused parameters count as 0."""
        if self.size == 1:
            return
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


ALONE = World()


def cores_of_process() -> int:
    """The machine's cores, shared out among the processes that torchrun starts on it: threads of all of them
    on every core would wait for each other.
    """
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextlib.contextmanager
def joined_world(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """The world that torchrun describes in the environment, and this process's device; else `ALONE`."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, device
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        found = torch.cuda.device_count()
        if local >= found:
            raise UserError(
                f"torchrun started more processes than there are GPUs; give --nproc_per_node {found}."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    control = dist.new_group(backend="gloo", timeout=_PATIENCE) if device.type == "cuda" else None
    try:
        yield World(dist.get_rank(), dist.get_world_size(), control), device
    finally:
        dist.destroy_process_group()
