"""One of several processes that train a small layer, as torchrun starts them; its argument is the folder."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from backend.training.distributed import joined_world
from backend.training.loop import LoopConfig, Part, Trainer

STEPS = 5


@dataclass(frozen=True)
class Pair:
    x: Tensor
    y: Tensor


def layer_part(width: int = 4, seed: int = 3) -> Part[Pair]:
    """A layer that learns from numbered batches and numbered noise."""
    torch.manual_seed(seed)
    module = nn.Linear(width, width // 2)

    def batch(number: int) -> Pair:
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(8, width, generator=generator)
        return Pair(x, x[:, : width // 2] * number)

    def loss(batch: Pair, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        noise = torch.randn(batch.y.shape, generator=generator)
        error = (module(batch.x) - batch.y + 0.1 * noise).square().mean()
        return error, {"noise": noise.mean()}

    return Part("layer", module, batch, loss)


def config(**changes: object) -> LoopConfig:
    return LoopConfig(steps=STEPS, learning_rate=1e-2, warm_up=1, bfloat16=False, log_every=1, **changes)


if __name__ == "__main__":
    with joined_world(torch.device("cpu")) as (world, device):
        # Clocks of different speed, which must not part the processes: only the first one's counts.
        saving = config(save_seconds=0.0 if world.leads else 1e9)
        for until in (0.0, float("inf")):  # stopped after one step, then resumed
            part = layer_part(seed=3 + world.rank)  # which begins with the weights of the first process
            Trainer(part, saving, Path(sys.argv[1]), device, world).run(until)
