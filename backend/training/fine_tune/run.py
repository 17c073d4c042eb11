"""Teaches an existing model somebody's own objects: any model folder, the published sizes included.

First every object becomes tokens of pictures (or sentences) and latents, through the model's own encoders,
which are then put away; then each part learns from these; then a folder like the first is written. Every
stage goes on where it was stopped.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from backend.checkpoints.model_folder import ModelFolder, open_folder
from backend.checkpoints.weights import read_model
from backend.errors import UserError
from backend.files import atomic_path, make_writable_folder
from backend.geometry.mesh_files import Entry
from backend.training.data.latent_encoders import digest
from backend.training.data.records import OnObject, OutOfTime
from backend.training.distributed import ALONE, World
from backend.training.fine_tune.config import FLOWS, LIFTING, FineTuneConfig
from backend.training.fine_tune.export import export_changed, write_checkpoint_like
from backend.training.fine_tune.flows import Examples, fixed_loss, latent_flow_part, structure_flow_part
from backend.training.fine_tune.lifting import lifting_part
from backend.training.fine_tune.prepare import Preparation
from backend.training.loop import LoopConfig, Part, Trainer

log = logging.getLogger(__name__)

LARGE = 100_000_000
"""Parameters of a large network: it learns slowly, its activations are computed twice and its state is saved
rarely.
"""
LARGE_RATE, SMALL_RATE = 1e-5, 1e-4
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
    world: World = ALONE,
    export: Path | None = None,
) -> Path | None:
    """Teaches `model` the objects of `entries`; returns the new model's folder: `export` or `<out>/model`.

    `captions` are sentences by file stem, for models of text. Work stops when time.monotonic() says `until`;
    then None is returned, and the same call goes on. UserError where the folder lacks an encoder, or where
    `out` holds the training of another model.
    """
    config = config.checked()
    folder = open_folder(model)
    parts = config.parts_of(folder)
    make_writable_folder(out)
    _claim(out, {name: checkpoint_of(folder, name) for name in parts}, world)
    preparation = Preparation(
        folder, entries, out / "prepared", device, config, captions or {}, until, world, on_object
    )
    changed: dict[Path, nn.Module] = {}
    encoder: Path | None = None
    try:
        for name in parts:
            part = make_part(name, preparation, config, encoder)
            changed[checkpoint_of(folder, name)] = _train(part, len(parts), out, config, until, preparation)
            if name == LIFTING:
                encoder = out / "taught_encoder"
                if world.leads:
                    write_checkpoint_like(checkpoint_of(folder, name), part.module, encoder)
                world.wait()
    except OutOfTime:
        return None
    target = export or out / "model"
    if world.leads:
        export_changed(folder, changed, preparation.entries, target)
    world.wait()
    return target


def checkpoint_of(folder: ModelFolder, part: str) -> Path:
    """The checkpoint, without suffix, that a part changes; UserError where the folder does not name it."""
    if part == LIFTING:
        return folder.path / str(folder.image_cond_model)
    if FLOWS[part] not in folder.models:
        raise UserError(f"The model {folder.name} has no {FLOWS[part]}; leave out the part {part}.")
    return folder.models[FLOWS[part]]


def make_part(name: str, preparation: Preparation, config: FineTuneConfig, encoder: Path | None) -> Part:
    """A part of the model, its weights in fp32, and the objects prepared for it.

    `encoder` is the checkpoint of the picture encoder, without suffix, if that was taught before.
    """
    folder, device = preparation.folder, preparation.device
    module = read_model(checkpoint_of(folder, name), torch.float32, device).train().requires_grad_(True)
    flow = replace(config.flow, seed=config.seed)
    if name == LIFTING:
        pixels, shapes = preparation.pixels(module.config.image_size), preparation.structures()
        examples = Examples(preparation.entries, pixels, shapes, preparation.targets.poses)
        return lifting_part(module, examples, config.lifting_batch, config.seed)
    recompute = is_large(module) if config.recompute is None else config.recompute
    module.config = replace(module.config, use_checkpoint=recompute)
    tokens = preparation.tokens(encoder)
    latents = preparation.structures() if name == "structure_flow" else preparation.latents()
    examples = Examples(preparation.entries, tokens, latents, preparation.targets.poses)
    if name == "structure_flow":
        return structure_flow_part(module, examples, config.structure_batch, flow)
    return latent_flow_part(module, examples, flow)


def is_large(module: nn.Module) -> bool:
    """Whether the network has more than a hundred million parameters."""
    return sum(parameter.numel() for parameter in module.parameters()) > LARGE


def loop_config(part: Part, parts: int, config: FineTuneConfig) -> LoopConfig:
    """How long and how fast a part, one of `parts`, is trained."""
    large = is_large(part.module)
    return LoopConfig(
        steps=config.steps if not config.minutes else 10**9,
        minutes=config.minutes / parts,
        learning_rate=config.learning_rate or (LARGE_RATE if large else SMALL_RATE),
        warm_up=config.warm_up,
        ema=config.ema,
        seed=config.seed,
        save_seconds=LARGE_SAVE_SECONDS if large else LoopConfig.save_seconds,
        bfloat16=config.bfloat16,
        # Objects differ in their voxels, so their steps take one after the other.
        accumulate=config.latent_batch if part.name == "latent_flow" else 1,
    )


def _train(
    part: Part, parts: int, out: Path, config: FineTuneConfig, until: float, preparation: Preparation
) -> nn.Module:
    """The part's module, taught, in the processor's memory; OutOfTime if `until` came first."""
    device, world = preparation.device, preparation.world
    losses = _read_json(out / "losses.json")
    if part.name not in losses:
        losses[part.name] = {"before": fixed_loss(part, device, config.bfloat16)}
    trainer = Trainer(part, loop_config(part, parts, config), out, device, world)
    if world.leads:
        _write_json(out / "losses.json", losses)
    module = trainer.run(until)
    if not trainer.finished:
        raise OutOfTime
    losses[part.name]["after"] = fixed_loss(part, device, config.bfloat16)
    if world.leads:
        _write_json(out / "losses.json", losses)
    log.info("%s: loss %.4f before, %.4f after", part.name, *losses[part.name].values())
    return module.cpu()


def _claim(out: Path, checkpoints: Mapping[str, Path], world: World) -> None:
    """Writes down what is trained in `out`; UserError if something else is."""
    known = _read_json(out / "fine_tune.json")
    for name, path in checkpoints.items():
        weights = digest(path.with_name(f"{path.name}.safetensors"))
        if known.setdefault(name, weights) != weights:
            raise UserError(f"{out} holds the training of another model; choose another folder or remove it.")
    if world.leads:
        _write_json(out / "fine_tune.json", known)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
