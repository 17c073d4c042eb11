"""The folder a starter model is trained in: which part stands on which, and their frozen results.

Every part keeps its state in the folder, so any of them can be stopped, resumed, or run in a process of its
own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from backend.errors import UserError
from backend.files import atomic_path
from backend.models.lifting_encoder import LiftingImageEncoder
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.autoencoder_latent import LatentAutoencoder, latent_part, latent_statistics
from backend.training.autoencoder_structure import (
    StructureAutoencoder,
    fold_latent_scale,
    occupancies,
    structure_part,
)
from backend.training.dataset import ObjectSource
from backend.training.decoders import decoders_part
from backend.training.flows import latent_flow_part, structure_flow_part
from backend.training.latent_targets import LatentTargets
from backend.training.lifting import LiftingTrainer, latent_start_part, lifting_part
from backend.training.loop import Part, Trainer, load_averaged
from backend.training.recipe import Recipe
from backend.training.structure_decoder import structure_decoder_part

Module = TypeVar("Module", bound=nn.Module)
PARTS = (
    "structure_autoencoder",
    "latent_autoencoder",
    "lifting",
    "structure_decoder",
    "latent_start",
    "latent_decoders",
    "structure_flow",
    "latent_flow",
)
_STATISTICS_SCENES = 100
_FIRST_STATISTICS_STEP = 10**8  # far from the steps that training sees


class Workshop:
    """Builds parts and hands out what earlier parts have learned; see the module docstring."""

    def __init__(self, recipe: Recipe, source: ObjectSource, folder: Path):
        self.recipe = recipe
        self.source = source
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def train(self, name: str, minutes: float | None = None) -> nn.Module:
        """Trains one part to the end of its budget (by default the recipe's minutes), resuming where it
        stopped.
        """
        config = self.recipe.loops[name]
        if minutes is not None:
            config = replace(config, minutes=minutes)
        return Trainer(self.part(name), config, self.folder).run()

    def part(self, name: str) -> Part:
        """A part, standing on the results of those before it."""
        recipe, source = self.recipe, self.source
        if name == "structure_autoencoder":
            return structure_part(recipe, source)
        if name == "latent_autoencoder":
            return latent_part(recipe, source)
        if name == "lifting":
            return lifting_part(recipe, source, self.structure)
        if name == "structure_decoder":
            return structure_decoder_part(recipe, source, self.structure, self.lifting)
        if name == "latent_start":
            return latent_start_part(recipe, source, self.lifting, self.latents)
        if name == "latent_decoders":
            module = self._autoencoder("latent_autoencoder")
            return decoders_part(recipe, source, self.structure, self.lifting, self.latents, module)
        if name == "structure_flow":
            return structure_flow_part(recipe, source, self.structure, self.lifting)
        if name == "latent_flow":
            return latent_flow_part(recipe, source, self.latents, self.lifting)
        raise UserError(f"There is no part {name}; choose among {', '.join(PARTS)}.")

    @cached_property
    def structure(self) -> StructureAutoencoder:
        """The structure autoencoder, its latents rescaled to unit deviation; the decoder as it was trained last."""
        module = self._finished("structure_autoencoder", StructureAutoencoder(self.recipe))
        std = self._measured("structure_statistics", self._structure_deviation, module)["std"]
        fold_latent_scale(module, torch.tensor(std))
        if self._state("structure_decoder").is_file():
            self._finished("structure_decoder", module.decoder)
        return module

    @cached_property
    def latent_autoencoder(self) -> LatentAutoencoder:
        """The latent autoencoder, with the decoders that were trained longest."""
        longer = self._state("latent_decoders").is_file()
        return self._autoencoder("latent_decoders" if longer else "latent_autoencoder")

    @cached_property
    def latents(self) -> LatentTargets:
        """The latent encoder with its normalisation, which is measured once and kept in the folder."""
        autoencoder = self._autoencoder("latent_autoencoder")
        table = self._measured("latent_statistics", self._latent_deviation, autoencoder)
        return LatentTargets(autoencoder, torch.tensor(table["mean"]), torch.tensor(table["std"]))

    @cached_property
    def lifting(self) -> LiftingImageEncoder:
        """The picture encoder, with its guess of the structured latent once that is learned."""
        encoder = self._finished("lifting", LiftingTrainer(self.recipe)).encoder
        if self._state("latent_start").is_file():
            self._finished("latent_start", encoder)
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
        std = torch.cat([module.encode(batch) for batch in batches]).std(dim=(0, 2, 3, 4))
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

    def _autoencoder(self, name: str) -> LatentAutoencoder:
        return self._finished(name, LatentAutoencoder(self.recipe))

    def _finished(self, name: str, module: nn.Module) -> nn.Module:
        if not self._state(name).is_file():
            raise UserError(f"{self.folder} holds no trained {name}; train that part first.")
        return load_averaged(module, self._state(name))

    def _state(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"
