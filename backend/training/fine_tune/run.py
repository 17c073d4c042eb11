"""Fine-tunes an existing model on somebody's own objects: any model folder, the published sizes included.

First every object becomes tokens of pictures (or sentences) and latents, through the model's own encoders,
which are then put away; then each part learns from these; then a folder like the first is written. Every
stage goes on where it was stopped.
"""

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open

from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.weights import read_model
from backend.encoding.latent_encoders import weights_of
from backend.files import make_writable_folder
from backend.geometry.mesh_files import Entry
from backend.lifting.aligned_flow import AlignedSLatFlowModel, AlignedStructureFlowModel
from backend.training.data.records import OutOfTime, digest
from backend.training.distributed import ALONE, World
from backend.training.encoders import picture_part
from backend.training.fine_tune.config import LIFTING, FineTuneConfig, checkpoint_of
from backend.training.fine_tune.examples import Examples, fixed_loss
from backend.training.fine_tune.export import export_changed, write_checkpoint_like
from backend.training.fine_tune.prepare import Preparation
from backend.training.flows import latent_flow_part, structure_flow_part
from backend.training.loop import LoopConfig, Part
from backend.training.run import Run, claim, read_json, write_json

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
    settings: FineTuneConfig,
    captions: Mapping[str, tuple[str, ...]] | None = None,
    until: float = math.inf,
    world: World = ALONE,
    export: Path | None = None,
) -> Path | None:
    """Trains `model` on the objects of `entries`; returns the new model's folder: `export` or `<out>/model`.

    `captions` are sentences by the entries' names, for models of text. Work stops when time.monotonic() says
    `until`; then None is returned, and the same call goes on. UserError where the folder lacks an encoder, or
    where `out` holds the training of another model.
    """
    place = out / "prepared"
    sentences = captions or {}
    preparation = Preparation(open_folder(model), entries, place, device, settings, sentences, until, world)
    run = FineTuneRun(preparation, out)
    try:
        if not run.train_all(run.parts, until):
            return None
    except OutOfTime:
        return None
    target = export or out / "model"
    if world.leads:
        run.export(target)
    world.wait()
    return target


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class FineTuneRun(Run):
    """Builds the parts of a model folder; <out>/losses.json has the losses before and after each training."""

    def __init__(self, preparation: Preparation, out: Path):
        self.model, self.settings = preparation.folder, preparation.config
        self.parts = self.settings.parts_of(self.model)
        make_writable_folder(out)
        super().__init__(out, preparation.device, preparation.world)
        self._losses = out / "losses.json"
        known = replace(self.settings, parts=None).parts_of(self.model)
        # Those that other calls have trained here belong to the same model.
        self._learned = tuple(one for one in known if one in self.parts or self._has_learned(one))
        checkpoints = {
            f"model ({name})": digest(weights_of(checkpoint_of(self.model, name)))[:16]
            for name in self._learned
        }
        objects = "\n".join(sorted(f"{one.name} {_bytes_of(one.path)}" for one in preparation.entries))
        told = f"{len(preparation.entries)} ({hashlib.sha256(objects.encode()).hexdigest()[:8]})"
        claim(out, {**checkpoints, "seed": self.settings.seed, "objects": told}, self.world)
        self.preparation = preparation
        self._encoder = out / "trained_encoder" if LIFTING in self._learned else None

    def build(self, name: str) -> Part:
        """The part with its weights in fp32, and the objects prepared for it."""
        settings, preparation = self.settings, self.preparation
        path = checkpoint_of(self.model, name)
        module = read_model(path, torch.float32, self.device).train().requires_grad_(True)
        takes = isinstance(module, AlignedStructureFlowModel | AlignedSLatFlowModel)
        if name == LIFTING:
            conditions, latents = preparation.pixels(module.config.picture_size), preparation.structures()
        else:
            recompute = self._is_large(name) if settings.recompute is None else settings.recompute
            module.config = replace(module.config, use_checkpoint=recompute)
            conditions = preparation.tokens(self._encoder)
            if name == "structure_flow":
                latents = preparation.structures()
            else:
                latents = preparation.looks(self._encoder) if takes else preparation.latents()
        poses = preparation.targets.poses
        examples = Examples(preparation.entries, conditions, latents, poses, settings.seed)
        if name == LIFTING:
            return picture_part(module, partial(examples.pictures, size=settings.lifting_batch))
        if name == "structure_flow":
            batch = partial(examples.structures, size=settings.structure_batch, with_aligned=takes)
            return structure_flow_part(module, batch, settings.flow)
        return latent_flow_part(module, partial(examples.latent, with_aligned=takes), settings.flow)

    def config(self, name: str) -> LoopConfig:
        settings, large = self.settings, self._is_large(name)
        return LoopConfig(
            steps=settings.steps if not settings.minutes else 10**9,
            minutes=settings.minutes / len(self.parts),
            learning_rate=settings.learning_rate or (LARGE_RATE if large else SMALL_RATE),
            warm_up=settings.warm_up,
            ema=settings.ema,
            seed=settings.seed,
            save_seconds=LARGE_SAVE_SECONDS if large else LoopConfig.save_seconds,
            bfloat16=settings.bfloat16,
            # Objects differ in their voxels, so their steps take one after the other.
            accumulate=settings.latent_batch if name == "latent_flow" else 1,
        )

    def is_finished(self, name: str) -> bool:
        return super().is_finished(name) and self._has_learned(name)

    def begin(self, part: Part) -> None:
        losses = read_json(self._losses)
        self.world.wait()
        if part.name not in losses and self.world.leads:
            before = fixed_loss(part, self.device, self.settings.bfloat16)
            write_json(self._losses, losses | {part.name: {"before": before}})

    def end(self, part: Part) -> None:
        if not self.world.leads:
            return
        if part.name == LIFTING and self._encoder is not None:
            write_checkpoint_like(checkpoint_of(self.model, part.name), part.module, self._encoder)
        losses = read_json(self._losses)
        losses[part.name]["after"] = fixed_loss(part, self.device, self.settings.bfloat16)
        write_json(self._losses, losses)
        log.info("%s: loss %.4f before, %.4f after", part.name, *losses[part.name].values())

    def export(self, folder: Path) -> None:
        """Writes a folder like the model's, with the weights of all parts that were trained here."""
        paths = {name: checkpoint_of(self.model, name) for name in self._learned}
        changed = {
            path: self.trained(name, read_model(path, torch.float32)).cpu() for name, path in paths.items()
        }
        export_changed(self.model, changed, self.preparation.entries, folder)

    def _has_learned(self, name: str) -> bool:
        """Whether a part was trained to an end here, in this call or another."""
        return self.state(name).is_file() and "after" in read_json(self._losses).get(name, {})

    def _is_large(self, name: str) -> bool:
        """Whether the network has more than a hundred million parameters."""
        with safe_open(weights_of(checkpoint_of(self.model, name)), framework="pt") as file:
            return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys()) > LARGE
