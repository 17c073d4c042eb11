"""`python -m backend train --from MODEL`: teaches an existing model the objects of a folder."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch

from backend.geometry.mesh_files import read_catalogue
from backend.training.data.progress import ProgressBar
from backend.training.distributed import World
from backend.training.fine_tune.captions import read_captions
from backend.training.fine_tune.config import FineTuneConfig
from backend.training.fine_tune.run import fine_tune

OUT = Path("runs/fine_tuned")
NAMES = {"tokens": "pictures", "pixels": "pictures", "structure": "structures", "latent": "latents"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said besides about teaching."""
    group = parser.add_argument_group("teaching a model (--from without --recipe)")
    default = FineTuneConfig()
    group.add_argument("--learning-rate", type=float, help="default 1e-5, for small networks 1e-4")
    group.add_argument(
        "--steps", type=int, default=default.steps, help="of each part, where no --minutes are given"
    )
    group.add_argument("--pictures", type=int, default=default.pictures, help="drawn of each object")


def teach(options: argparse.Namespace, world: World, device: torch.device) -> str:
    """Teaches as far as this call goes; returns the sentence that says how far that is."""
    out: Path = options.out or OUT
    config = FineTuneConfig(
        parts=tuple(options.parts) if options.parts else None,
        steps=options.steps,
        minutes=options.minutes or 0.0,
        learning_rate=options.learning_rate,
        pictures=options.pictures,
        seed=options.seed,
    )
    until = math.inf
    if options.piece_minutes is not None:
        until = time.monotonic() + 60 * options.piece_minutes
    bars: dict[str, ProgressBar] = {}

    def on_object(kind: str, done: int, total: int) -> None:
        if done == 1:  # also of a later pass over what is there
            bars[kind] = ProgressBar(f"preparing {NAMES[kind]}", total, world.leads)
        bars[kind].advance()
        if done == total:
            bars[kind].close()

    model = fine_tune(
        str(options.start), read_catalogue(options.data), out, device, config, read_captions(options.data),
        until, on_object, world, options.export,
    )  # fmt: skip
    if model is None:
        return f"Stopped in time, the state is saved in {out}; the same command goes on."
    losses = json.loads((out / "losses.json").read_text(encoding="utf-8"))
    change = ", ".join(f"{name} {one['before']:.3f} -> {one['after']:.3f}" for name, one in losses.items())
    return f"{model} is the taught model; loss before and after: {change}."
