"""The folder a starter model is trained in: which part stands on which, and their frozen results.

Every part keeps its state in the folder, so any of them can be stopped, resumed, or run in a process of its
own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from backend.errors import UserError
from backend.files import atomic_path
from backend.lifting.image_encoder import LiftingImageEncoder
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.data.feeding import ONE_THREAD, Workers
from backend.training.dataset import ObjectSource
from backend.training.distributed import ALONE, World
from backend.training.encoders import lifting_part
from backend.training.flows import latent_flow_part, structure_flow_part
from backend.training.loop import CPU, Part, Trainer, load_averaged
from backend.training.starter.autoencoder_latent import LatentAutoencoder, latent_part, latent_statistics
from backend.training.starter.autoencoder_structure import (
    StructureAutoencoder,
    fold_latent_scale,
    occupancies,
    structure_part,
)
from backend.training.starter.colors import color_part
from backend.training.starter.initial import load_initial
from backend.training.starter.latent_targets import LatentTargets
from backend.training.starter.recipe import Recipe

Module = TypeVar("Module", bound=nn.Module)
PARTS = (
    "structure_autoencoder",
    "latent_autoencoder",
    "lifting",
    "colors",
    "structure_flow",
    "latent_flow",
)
_STATISTICS_SCENES = 100
_FIRST_STATISTICS_STEP = 10**8  # far from the steps that training sees


class Workshop:
    """Builds parts and hands out what earlier parts have learned; see the module docstring.

    Everything it hands out is on the device. `initial` is a model folder whose weights new parts begin with.
    """

    def __init__(
        self,
        recipe: Recipe,
        source: ObjectSource,
        folder: Path,
        device: torch.device = CPU,
        world: World = ALONE,
        workers: Workers = ONE_THREAD,
        initial: Path | None = None,
    ):
        self.recipe = recipe
        self.source = source
        self.folder = folder
        self.device = device
        self.world = world
        self.workers = workers
        self.initial = initial
        folder.mkdir(parents=True, exist_ok=True)

    def train(
        self,
        name: str,
        minutes: float | None = None,
        until: float = math.inf,
        on_save: Callable[[], None] | None = None,
    ) -> Trainer:
        """Trains one part to the end of its budget (by default the recipe's minutes) or until
        time.monotonic() says `until`, going on where it stopped; the trainer knows how far it came.
        """
        config = replace(self.recipe.loops[name], seed=self.source.seed, workers=self.workers)
        if minutes is not None:
            config = replace(config, minutes=minutes)
        part = self.part(name)
        if self.initial is not None and not self._state(name).is_file():
            load_initial(part, self.initial)
        trainer = Trainer(part, config, self.folder, self.device, self.world, on_save)
        trainer.run(until).eval().requires_grad_(False)
        if self.world.leads and trainer.finished:
            self._measure(name)
        self.world.wait()
        return trainer

    def _measure(self, name: str) -> None:
        """Statistics that later parts need, while the other processes wait."""
        if name == "structure_autoencoder":
            _ = self.structure
        elif name == "latent_autoencoder":
            _ = self.latents

    def part(self, name: str) -> Part:
        """A part, standing on the results of those before it."""
        recipe, source = self.recipe, self.source
        if name == "structure_autoencoder":
            return structure_part(recipe, source)
        if name == "latent_autoencoder":
            return latent_part(recipe, source)
        if name == "lifting":
            return lifting_part(recipe, source, self.structure)
        if name == "colors":
            return color_part(recipe, source, self.lifting, self.latents)
        if name == "structure_flow":
            return structure_flow_part(recipe, source, self.structure, self.lifting)
        if name == "latent_flow":
            return latent_flow_part(recipe, source, self.latents, self.lifting)
        raise UserError(f"There is no part {name}; choose among {', '.join(PARTS)}.")

    @cached_property
    def structure(self) -> StructureAutoencoder:
        """The structure autoencoder, its latents rescaled to unit deviation."""
        module = self._finished("structure_autoencoder", StructureAutoencoder(self.recipe))
        std = self._measured("structure_statistics", self._structure_deviation, module)["std"]
        fold_latent_scale(module, torch.tensor(std, device=self.device))
        return module

    @cached_property
    def latent_autoencoder(self) -> LatentAutoencoder:
        """The autoencoder of the structured latent."""
        return self._finished("latent_autoencoder", LatentAutoencoder(self.recipe))

    @cached_property
    def latents(self) -> LatentTargets:
        """The latent encoder with its normalisation, which is measured once and kept in the folder."""
        table = self._measured("latent_statistics", self._latent_deviation, self.latent_autoencoder)
        return LatentTargets(self.latent_autoencoder, torch.tensor(table["mean"]), torch.tensor(table["std"]))

    @cached_property
    def lifting(self) -> LiftingImageEncoder:
        """The picture encoder, with its guess of the colours once that is learned."""
        encoder = self._finished("lifting", LiftingImageEncoder(self.recipe.lifting))
        if self._state("colors").is_file():
            self._finished("colors", encoder)
        return encoder

    @cached_property
    def structure_flow(self) -> SparseStructureFlowModel:
        return self._finished(
            "structure_flow", SparseStructureFlowModel.from_args(self.recipe.structure_flow)
        )

    @cached_property
    def latent_flow(self) -> SLatFlowModel:
        return self._finished("latent_flow", SLatFlowModel.from_args(self.recipe.latent_flow))

    def _structure_deviation(self, module: StructureAutoencoder) -> dict[str, list[float]]:
        first = _FIRST_STATISTICS_STEP
        batches = [occupancies(self.recipe, self.source, first + i) for i in range(4)]
        latents = [module.encode(batch.to(self.device).float()) for batch in batches]
        std = torch.cat(latents).std(dim=(0, 2, 3, 4))
        return {"std": std.tolist()}

    def _latent_deviation(self, module: LatentAutoencoder) -> dict[str, list[float]]:
        mean, std = latent_statistics(module, self.recipe, self.source, _STATISTICS_SCENES)
        return {"mean": mean.tolist(), "std": std.tolist()}

    def _measured(
        self, name: str, measure: Callable[[Module], dict[str, list[float]]], module: Module
    ) -> dict[str, list[float]]:
        """Statistics of a module's latents, measured once and kept in the folder."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(measure(module), indent=1))
        return json.loads(path.read_text())

    def _finished(self, name: str, module: nn.Module) -> nn.Module:
        if not self._state(name).is_file():
            raise UserError(f"{self.folder} holds no trained {name}; train that part first.")
        return load_averaged(module, self._state(name)).to(self.device)

    def _state(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"
