"""A training run: the parts of a model, trained one after the other in one folder.

Every part keeps its state in the folder, so a run that is stopped goes on where it was.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from backend.errors import UserError
from backend.files import atomic_path
from backend.training.distributed import ALONE, World
from backend.training.log import draw_curves
from backend.training.loop import CPU, LoopConfig, Part, Trainer
from backend.training.state import load_averaged, read_counters

Module = TypeVar("Module", bound=nn.Module)


class Run:
    """Trains parts and hands out what they learned; a subclass builds them on the results of those before."""

    parts: tuple[str, ...] = ()

    def __init__(self, folder: Path, device: torch.device = CPU, world: World = ALONE):
        self.folder = folder
        self.device = device
        self.world = world
        folder.mkdir(parents=True, exist_ok=True)

    def part(self, name: str) -> Part:
        """A part as it is before its training; UserError where there is none of that name."""
        if name not in self.parts:
            raise UserError(f"There is no part {name}; choose among {', '.join(self.parts)}.")
        seed = hashlib.sha256(f"{self.config(name).seed} {name}".encode()).digest()[:7]
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(int.from_bytes(seed, "big"))  # whatever was drawn and trained before
            return self.build(name)

    def build(self, name: str) -> Part:
        """Makes a part, one of `parts`, on the results of those before it."""
        raise NotImplementedError

    def config(self, name: str) -> LoopConfig:
        """How long and how fast a part is trained."""
        raise NotImplementedError

    def begin(self, part: Part) -> None:
        """Called before a part is trained on."""

    def end(self, part: Part) -> None:
        """Called when a part is trained to its end, with its averaged weights."""

    def train(self, name: str, until: float = math.inf) -> Trainer:
        """Trains one part to its end or until time.monotonic() says `until`, going on where it stopped."""
        part = self.part(name)
        self.begin(part)
        trainer = Trainer(part, self.config(name), self.folder, self.device, self.world)
        trainer.run(until).eval().requires_grad_(False)
        if self.world.leads:
            draw_curves(self.folder)
        if trainer.finished:
            self.end(part)
        self.world.wait()
        return trainer

    def train_all(self, names: Sequence[str], until: float = math.inf) -> bool:
        """Trains the parts in order; False where `until` came before the end."""
        for name in names:
            if self.is_finished(name):
                continue
            (late,) = self.world.agree(float(time.monotonic() > until))
            if late or not self.train(name, until).finished:
                return False
        return True

    def is_finished(self, name: str) -> bool:
        """Whether a part is trained to its end."""
        counters = read_counters(self.state(name))
        return self.config(name).is_over(counters.get("step", 0), counters.get("seconds", 0.0))

    def trained(self, name: str, module: Module) -> Module:
        """The module, on the device, with what that part learned; UserError if that is not there."""
        if not self.state(name).is_file():
            raise UserError(f"{self.folder} holds no trained {name}; train that part first.")
        load_averaged(module, self.state(name)).to(self.device)
        return module

    def state(self, name: str) -> Path:
        """The file of a part's state."""
        return self.folder / f"{name}.safetensors"


def scaled(loops: Mapping[str, LoopConfig], parts: Sequence[str], minutes: float) -> dict[str, LoopConfig]:
    """The loops, the chosen parts' minutes in proportion so that they make `minutes` together."""
    factor = minutes / sum(loops[part].minutes for part in parts)
    return {name: replace(loop, minutes=loop.minutes * factor) for name, loop in loops.items()}


def claim(folder: Path, settings: dict[str, Any], world: World = ALONE) -> None:
    """Writes down what a folder is the training of; UserError where it is that of something else."""
    path = folder / "settings.json"
    known = read_json(path)
    for name, value in settings.items():
        if known.setdefault(name, value) != value:
            raise UserError(
                f"{folder} holds a training with {name} {known[name]}, not {value}; go on with that, remove"
                " the folder, or choose another."
            )
    if world.leads:
        write_json(path, known)
    world.wait()


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, content: object) -> None:
    """Writes the file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
