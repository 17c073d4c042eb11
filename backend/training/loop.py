"""The training loop of every part: batches by number, AdamW, moving average, CSV log, and a state that
resumes exactly.

Batches and noise depend on the seed and the step alone, so a run that was killed and resumed equals one that
was not.
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.files import atomic_path
from backend.training.schedule import AdaptiveClip, MovingAverage, learning_rate_factor

log = logging.getLogger(__name__)
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast one part is trained; `minutes` of 0 leaves the length to `steps`."""

    steps: int = 10_000
    minutes: float = 0.0
    learning_rate: float = 5e-4
    weight_decay: float = 0.0
    warm_up: int = 100
    clip: float = 1.0
    ema: float = 0.99
    seed: int = 0
    save_seconds: float = 90.0
    log_every: int = 20
    bfloat16: bool = True


def pooled(make: Callable[[int], Batch], size: int) -> Callable[[int], Batch]:
    """Batches by step from a pool of `size`, each made when first wanted and learned repeatedly."""
    pool: dict[int, Batch] = {}

    def batch(step: int) -> Batch:
        number = step % size
        if number not in pool:
            pool[number] = make(number)
        return pool[number]

    return batch


@dataclass(frozen=True)
class Part(Generic[Batch]):
    """What the loop needs to know: the trained module, batches by step, and a loss.

    `loss` takes a batch and the step's noise generator and returns the loss and numbers to log.
    """

    name: str
    module: nn.Module
    batch: Callable[[int], Batch]
    loss: Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, float]]]


class Trainer:
    """One part in training; its state lives in `<folder>/<part>.safetensors`."""

    def __init__(self, part: Part, config: LoopConfig, folder: Path):
        self.part = part
        self.config = config
        self.folder = folder
        self.parameters = [p for p in part.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.average = MovingAverage(part.module, config.ema)
        self.clip = AdaptiveClip(config.clip)
        self.step = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            self._load()

    @property
    def path(self) -> Path:
        return self.folder / f"{self.part.name}.safetensors"

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        by_time = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_time, self.step / self.config.steps))

    def run(self) -> nn.Module:
        """Trains to the end (or goes on from the saved state) and returns the module with averaged
        weights.
        """
        log.info("%s: from step %d, %.0f s done", self.part.name, self.step, self.seconds)
        saved = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self.part.batch, self.step)
            while self.progress < 1.0:
                started = time.monotonic()
                batch = upcoming.result()
                upcoming = pool.submit(self.part.batch, self.step + 1)
                numbers = self.train_step(batch)
                self.seconds += time.monotonic() - started
                self._report(numbers)
                if time.monotonic() - saved > self.config.save_seconds:
                    self.save()
                    saved = time.monotonic()
        self.save()
        self.average.copy_to(self.part.module)
        return self.part.module

    def train_step(self, batch: object) -> dict[str, float]:
        """One optimiser step; returns the numbers to log."""
        factor = learning_rate_factor(self.step, self.config.warm_up, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bfloat16):
            loss, numbers = self.part.loss(batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = self.clip(self.parameters)
        self.optimizer.step()
        self.step += 1
        self.average.update(self.part.module, self.step)
        return {
            "loss": float(loss.detach()),
            "norm": norm,
            "lr": self.config.learning_rate * factor,
            **numbers,
        }

    def save(self) -> None:
        """Writes weights, averages, optimiser and counters in one atomic file."""
        tensors = {f"model.{k}": v.contiguous() for k, v in self.part.module.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.average.shadow.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        counters = {"step": self.step, "seconds": self.seconds, "norms": list(self.clip.norms)}
        with atomic_path(self.path) as temporary:
            save_file(tensors, temporary, metadata={"counters": json.dumps(counters)})

    def _load(self) -> None:
        with safe_open(self.path, framework="pt") as file:
            counters = json.loads(file.metadata()["counters"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        self.part.module.load_state_dict(_below(tensors, "model."), strict=False)
        self.average.shadow.update(_below(tensors, "ema."))
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimizer.").items():
            index, name = key.split(".", 1)
            states.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.step, self.seconds = counters["step"], counters["seconds"]
        self.clip.norms.extend(counters["norms"])

    def _report(self, numbers: dict[str, float]) -> None:
        if self.step % self.config.log_every:
            return
        row = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            **{k: round(v, 6) for k, v in numbers.items()},
        }
        path = self.folder / f"{self.part.name}.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        log.info("%s %s", self.part.name, " ".join(f"{k}={v:g}" for k, v in row.items()))


def load_averaged(module: nn.Module, path: Path) -> nn.Module:
    """Fills a module from a saved state, averaged weights where there are any; returns it frozen."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    module.load_state_dict({**_below(tensors, "model."), **_below(tensors, "ema.")})
    return module.eval().requires_grad_(False)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
