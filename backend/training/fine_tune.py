"""Teaches an existing model somebody's own objects: any model folder, the published sizes included.

First every object becomes tokens of pictures (or sentences) and latents, through the model's own encoders,
which are then put away; then each flow learns from these; then a folder like the first is written. Every
stage goes on where it was stopped.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from backend.checkpoints import read_model
from backend.errors import UserError
from backend.files import atomic_path, make_writable_folder
from backend.model_folder import open_folder
from backend.training.assets import Entry
from backend.training.fine_tune_config import ROLES, FineTuneConfig
from backend.training.fine_tune_encoders import Checkpoint, digest, flow_checkpoint
from backend.training.fine_tune_export import export_changed
from backend.training.fine_tune_flows import Examples, fixed_loss, latent_flow_part, structure_flow_part
from backend.training.fine_tune_prepare import prepare
from backend.training.fine_tune_records import OnObject
from backend.training.loop import LoopConfig, Part, Trainer

log = logging.getLogger(__name__)

LARGE = 100_000_000
"""Parameters of a large network: its activations are computed twice, and its state is saved rarely."""
LARGE_SAVE_SECONDS = 900.0


def fine_tune(
    model: str | Path,
    entries: tuple[Entry, ...],
    out: Path,
    device: torch.device,
    config: FineTuneConfig,
    captions: Mapping[str, tuple[str, ...]] | None = None,
    until: float = math.inf,
    on_object: OnObject | None = None,
) -> Path | None:
    """Teaches `model` the objects of `entries` and returns the folder of the taught model, `<out>/model`.

    `captions` are sentences by file stem, for models of text. Work stops when time.monotonic() says `until`;
    then None is returned, and the same call goes on. UserError where the folder lacks an encoder, or where
    `out` holds the training of another model.
    """
    config = config.checked()
    folder = open_folder(model)
    checkpoints = {name: flow_checkpoint(folder, ROLES[name]) for name in config.parts}
    make_writable_folder(out)
    _claim(out, checkpoints)
    examples = prepare(folder, entries, out / "prepared", device, config, captions or {}, until, on_object)
    if examples is None:
        return None
    changed = {}
    for name, checkpoint in checkpoints.items():
        module = _train(name, checkpoint, examples[name], out, device, config, until)
        if module is None:
            return None
        changed[ROLES[name]] = module.cpu()
    taught = tuple(dict.fromkeys(entry for one in examples.values() for entry in one.entries))
    return export_changed(folder, changed, taught, out / "model")


def _train(
    name: str,
    checkpoint: Checkpoint,
    examples: Examples,
    out: Path,
    device: torch.device,
    config: FineTuneConfig,
    until: float,
) -> nn.Module | None:
    """The part's module, taught; None if `until` came first."""
    part = flow_part(name, checkpoint.path, examples, config, device)
    large = sum(parameter.numel() for parameter in part.module.parameters()) > LARGE
    losses = _Losses(out / "losses.json")
    if "before" not in losses.of(name):
        losses.note(name, "before", fixed_loss(part, device, config.bfloat16))
    trainer = Trainer(part, _loop(name, config, large), out, device)
    module = trainer.run(until)
    if not trainer.finished:
        return None
    losses.note(name, "after", fixed_loss(part, device, config.bfloat16))
    log.info("%s: loss %.4f before, %.4f after", name, losses.of(name)["before"], losses.of(name)["after"])
    return module


def flow_part(
    name: str, path: Path, examples: Examples, config: FineTuneConfig, device: torch.device
) -> Part:
    """A flow from its checkpoint `path` as a part that the loop can train, its weights in fp32."""
    module = read_model(path, torch.float32, device).train().requires_grad_(True)
    large = sum(parameter.numel() for parameter in module.parameters()) > LARGE
    recompute = large if config.recompute is None else config.recompute
    module.config = replace(module.config, use_checkpoint=recompute)
    flow = replace(config.flow, seed=config.seed)
    if name == "structure_flow":
        return structure_flow_part(module, examples, config.structure_batch, flow)
    return latent_flow_part(module, examples, flow)


def _loop(name: str, config: FineTuneConfig, large: bool) -> LoopConfig:
    return LoopConfig(
        steps=config.steps if not config.minutes else 10**9,
        minutes=config.minutes / len(config.parts),
        learning_rate=config.learning_rate,
        warm_up=config.warm_up,
        ema=config.ema,
        seed=config.seed,
        save_seconds=LARGE_SAVE_SECONDS if large else LoopConfig.save_seconds,
        bfloat16=config.bfloat16,
        # Objects differ in their voxels, so a batch is made of one after the other.
        accumulate=1 if name == "structure_flow" else config.latent_batch,
    )


def _claim(out: Path, checkpoints: Mapping[str, Checkpoint]) -> None:
    """Writes down what is trained in `out`; UserError if something else is."""
    path = out / "fine_tune.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, checkpoint in checkpoints.items():
        sum_now = digest(checkpoint.weights)
        if known.setdefault(name, sum_now) != sum_now:
            raise UserError(f"{out} holds the training of another model; choose another folder or remove it.")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


class _Losses:
    """Losses on the fixed examples before and after, by part, kept in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, dict[str, float]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        )

    def of(self, part: str) -> dict[str, float]:
        return self._values.get(part, {})

    def note(self, part: str, when: str, value: float) -> None:
        self._values.setdefault(part, {})[when] = value
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps(self._values, indent=1) + "\n", encoding="utf-8")
