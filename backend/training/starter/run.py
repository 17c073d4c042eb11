"""The run that trains the starter: which part stands on which, and their frozen results."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from backend.checkpoints.model_folder import open_folder
from backend.lifting.aligned_flow import AlignedSLatFlowModel, AlignedStructureFlowModel
from backend.lifting.image_encoder import LiftingImageEncoder
from backend.machine.device import mixed_precision
from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.models.structured_latent_vae import SLatGaussianDecoder
from backend.training.data.feeding import ONE_THREAD, Workers, moved
from backend.training.dataset import ObjectSource
from backend.training.distributed import ALONE, World
from backend.training.encoders import ShapeBatch, color_part, pixels, shape_part
from backend.training.flows import (
    LatentExamples,
    StructureExamples,
    fit_prior,
    latent_flow_part,
    structure_flow_part,
)
from backend.training.loop import CPU, LoopConfig, Part
from backend.training.run import Module, Run, read_json, write_json
from backend.training.starter.autoencoder_latent import (
    LatentAutoencoder,
    LatentTargets,
    latent_part,
    latent_statistics,
)
from backend.training.starter.autoencoder_structure import (
    StructureAutoencoder,
    fold_latent_scale,
    structure_part,
)
from backend.training.starter.batches import LookBatch, color_batch, look_batch, shape_batch
from backend.training.starter.looks import look_examples
from backend.training.starter.networks import load_initial
from backend.training.starter.pretrained import fill_features, pretrained_file
from backend.training.starter.recipe import PARTS, Recipe
from backend.training.starter.solids import gaussian_part, mesh_part
from backend.training.starter.stored_examples import StoredExamples

_STATISTICS_SCENES = 100
_FIRST_STATISTICS_STEP = 10**8  # far from the steps that training sees


class StarterRun(Run):
    """Builds the starter's parts and hands out what earlier parts have learned, on the device.

    `initial` is a model folder whose weights new parts begin with, and which stands in for parts that are not
    trained here.
    """

    parts = PARTS

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
        super().__init__(folder, device, world)
        self.recipe = recipe
        self.source = source
        self.workers = workers
        self.initial = initial

    def config(self, name: str) -> LoopConfig:
        return replace(self.recipe.loops[name], seed=self.source.seed, workers=self.workers)

    def end(self, part: Part) -> None:
        if self.world.leads:  # statistics that later parts need, while the other processes wait
            _ = part.name == "structure_autoencoder" and self.structure
            _ = part.name == "latent_autoencoder" and self.latents

    def build(self, name: str) -> Part:
        recipe, source = self.recipe, self.source
        if name == "structure_autoencoder":
            part: Part = structure_part(recipe, source)
        elif name == "latent_autoencoder":
            part = latent_part(recipe, source)
        elif name == "mesh_decoder":
            part = mesh_part(recipe, source, self.latent_autoencoder)
        elif name == "gaussian_decoder":
            part = gaussian_part(recipe, source, self.latent_autoencoder)
        elif name == "lifting":
            encoder, module = self.structure.encoder, LiftingImageEncoder(recipe.lifting)
            if module.guide is not None and self.initial is None and self._lacks(name):
                fill_features(module.guide.network, pretrained_file())
            part = shape_part(
                module, partial(shape_batch, recipe, source, size=recipe.lifting_batch), encoder
            )
        elif name == "colors":
            lifting, latents = self.lifting, self.latents
            batch = partial(color_batch, recipe, source)
            part = color_part(lifting, batch, latents.autoencoder.encoder, latents.mean, latents.std)
        else:
            return self._structure_flow() if name == "structure_flow" else self._latent_flow()
        self._begins_with_initial(name, part.module)
        return part

    def _begins_with_initial(self, name: str, module: torch.nn.Module) -> bool:
        """Fills the module of a part without a state; whether the initial model has any of its networks."""
        return self.initial is not None and self._lacks(name) and load_initial(name, module, self.initial)

    def _begin_flow(
        self, name: str, module: AlignedStructureFlowModel | AlignedSLatFlowModel, kept: StoredExamples[Any]
    ) -> None:
        """With the initial model's weights, or else with a prior that is fitted to the examples."""
        if not self._begins_with_initial(name, module) and self._lacks(name):
            fit_prior(module.to(self.device), lambda number: kept(number).places, self.recipe.prior_steps)

    def _structure_flow(self) -> Part[Any]:
        recipe, structure, lifting = self.recipe, self.structure, self.lifting
        config = recipe.loops["structure_flow"]
        batch = partial(shape_batch, recipe, self.source, size=recipe.structure_flow_batch)

        @torch.no_grad()
        def examples(batch: ShapeBatch) -> StructureExamples:
            with mixed_precision(self.device, config.bfloat16):
                tokens, aligned = lifting.from_both_sides(pixels(batch.given))
            occupied = batch.occupied
            latents = structure.encode(torch.cat([occupied, occupied.flip(2)])).float()
            return StructureExamples(tokens, latents, None, aligned)

        module = AlignedStructureFlowModel.from_args(recipe.structure_flow)
        kept = StoredExamples(
            self.folder / "lifted",
            StructureExamples,
            lambda number: examples(moved(batch(number), self.device)),
        )
        self._begin_flow("structure_flow", module, kept)
        if self.device.type != "cpu":
            return structure_flow_part(module, batch, recipe.flow, examples)
        # The encoder takes a processor as long as the flow does, so its answers come again.
        return structure_flow_part(module, kept, recipe.flow)

    def _latent_flow(self) -> Part[Any]:
        recipe, lifting = self.recipe, self.lifting
        config = recipe.loops["latent_flow"]

        def batch(number: int) -> LookBatch:
            return look_batch(
                recipe, (self.source.scene(number, index) for index in range(recipe.latent_flow_batch))
            )

        @torch.no_grad()
        def examples(batch: LookBatch) -> LatentExamples:
            with mixed_precision(self.device, config.bfloat16):
                return look_examples(lifting, self.latents, batch)

        module = AlignedSLatFlowModel.from_args(recipe.latent_flow)
        kept = StoredExamples(
            self.folder / "looks", LatentExamples, lambda number: examples(moved(batch(number), self.device))
        )
        self._begin_flow("latent_flow", module, kept)
        if self.device.type != "cpu":
            return latent_flow_part(module, batch, recipe.flow, examples)
        return latent_flow_part(module, kept, recipe.flow)

    @cached_property
    def structure(self) -> StructureAutoencoder:
        """The structure autoencoder, its latents rescaled to unit deviation."""
        module = self.trained("structure_autoencoder", StructureAutoencoder(self.recipe))
        if self._lacks("structure_autoencoder"):  # the initial model's are rescaled
            return module
        std = self._measured("structure_statistics", self._structure_deviation, module)["std"]
        fold_latent_scale(module, torch.tensor(std, device=self.device))
        return module

    @cached_property
    def latent_autoencoder(self) -> LatentAutoencoder:
        """The autoencoder of the structured latent."""
        return self.trained("latent_autoencoder", LatentAutoencoder(self.recipe))

    @cached_property
    def mesh_decoder(self) -> SLatMeshDecoder:
        """The mesh decoder, which has learned solids."""
        return self.trained("mesh_decoder", SLatMeshDecoder.from_args(self.recipe.mesh_decoder))

    @cached_property
    def gaussian_decoder(self) -> SLatGaussianDecoder:
        """The Gaussian decoder, which has learned solids."""
        decoder = SLatGaussianDecoder.from_args(self.recipe.gaussian_decoder)
        return self.trained("gaussian_decoder", decoder)

    @cached_property
    def latents(self) -> LatentTargets:
        """The latent encoder with its normalisation, which is measured once and kept in the folder."""
        if self.initial is not None and self._lacks("latent_autoencoder"):
            mean, std = map(torch.tensor, open_folder(self.initial).slat_normalization)
            return LatentTargets(self.latent_autoencoder, mean, std)
        table = self._measured("latent_statistics", self._latent_deviation, self.latent_autoencoder)
        return LatentTargets(self.latent_autoencoder, torch.tensor(table["mean"]), torch.tensor(table["std"]))

    @cached_property
    def lifting(self) -> LiftingImageEncoder:
        """The picture encoder, with its prediction of the colours once that is learned."""
        encoder = self.trained("lifting", LiftingImageEncoder(self.recipe.lifting))
        return self.trained("colors", encoder) if self.state("colors").is_file() else encoder

    @cached_property
    def structure_flow(self) -> AlignedStructureFlowModel:
        """The flow of the structure's latent."""
        return self.trained("structure_flow", AlignedStructureFlowModel.from_args(self.recipe.structure_flow))

    @cached_property
    def latent_flow(self) -> AlignedSLatFlowModel:
        """The flow of the structured latent."""
        return self.trained("latent_flow", AlignedSLatFlowModel.from_args(self.recipe.latent_flow))

    def trained(self, name: str, module: Module) -> Module:
        """As every run does; a part that is not trained here is the initial model's."""
        if self.initial is None or not self._lacks(name):
            return super().trained(name, module)
        load_initial(name, module, self.initial, finished=True)
        return module.to(self.device).eval().requires_grad_(False)

    def _lacks(self, name: str) -> bool:
        return not self.state(name).is_file()

    def _structure_deviation(self, module: StructureAutoencoder) -> dict[str, list[float]]:
        first = _FIRST_STATISTICS_STEP
        size = self.recipe.structure_batch
        batches = [shape_batch(self.recipe, self.source, first + i, size) for i in range(4)]
        latents = [module.encode(batch.occupied.to(self.device)) for batch in batches]
        return {"std": torch.cat(latents).std(dim=(0, 2, 3, 4)).tolist()}

    def _latent_deviation(self, module: LatentAutoencoder) -> dict[str, list[float]]:
        mean, std = latent_statistics(module, self.recipe, self.source, _STATISTICS_SCENES)
        return {"mean": mean.tolist(), "std": std.tolist()}

    def _measured(
        self, name: str, measure: Callable[[Module], dict[str, list[float]]], module: Module
    ) -> dict[str, list[float]]:
        """Statistics of a module's latents, measured once and kept in the folder."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            write_json(path, measure(module))
        return read_json(path)
