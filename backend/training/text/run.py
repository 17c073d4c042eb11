"""The folder the text model is trained in, beside the trained starter model that it stands on.

Every part keeps its state in the folder, so any of them can be stopped and resumed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import nn

from backend.checkpoints.weights import models_folder
from backend.errors import UserError
from backend.geometry.mesh_files import Entry
from backend.lifting.text_encoder import LiftingTextEncoder
from backend.models.minilm_text import load_sentence_encoder
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.loop import Part, Trainer, load_averaged
from backend.training.starter.run import Workshop
from backend.training.text.flows import text_latent_flow_part, text_structure_flow_part
from backend.training.text.latents import StoredLatents, stored_latents
from backend.training.text.lifting import text_color_part, text_lifting_part
from backend.training.text.recipe import TextRecipe
from backend.training.text.sentences import Sentences
from backend.training.text.structures import Structures, structures

TEXT_PARTS = ("text_lifting", "text_colors", "text_structure_flow", "text_latent_flow")


class TextWorkshop:
    """Builds the text parts and hands out what they learned; `starter` holds the trained autoencoders."""

    def __init__(self, recipe: TextRecipe, entries: tuple[Entry, ...], starter: Workshop, folder: Path):
        self.recipe = recipe
        self.entries = tuple(entry for entry in entries if not entry.brand)
        self.starter = starter
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def train(self, name: str, minutes: float | None = None) -> nn.Module:
        """Trains one part to the end of its budget (by default the recipe's minutes), going on where it
        stopped.
        """
        config = self.recipe.loops[name]
        if minutes is not None:
            config = replace(config, minutes=minutes)
        return Trainer(self.part(name), config, self.folder).run()

    def part(self, name: str) -> Part:
        """A part, standing on the results of those before it."""
        recipe, sentences = self.recipe, self.sentences
        if name == "text_lifting":
            return text_lifting_part(recipe, sentences, self.structures, self.starter.structure)
        if name == "text_colors":
            return text_color_part(recipe, sentences, self.latents, self.lifting, self.starter.latents)
        if name == "text_structure_flow":
            return text_structure_flow_part(recipe, sentences, self.structures)
        if name == "text_latent_flow":
            return text_latent_flow_part(recipe, sentences, self.latents)
        raise UserError(f"There is no part {name}; choose among {', '.join(TEXT_PARTS)}.")

    @cached_property
    def structures(self) -> Structures:
        """Every object's surface and solid, and the latent of the structure."""
        resolution = self.starter.recipe.structure_resolution
        path = self.folder / "text_structures.safetensors"
        return structures(self.entries, self.starter.structure, resolution, path)

    @cached_property
    def latents(self) -> StoredLatents:
        """Every object's structured latent and colours, as it is and painted."""
        path = self.folder / "text_latents.safetensors"
        return stored_latents(self.entries, self.starter.recipe, self.starter.latents, path)

    @cached_property
    def sentences(self) -> Sentences:
        """Which sentences are said, and their tokens."""
        name = self.recipe.lifting.sentence_encoder
        encoder = load_sentence_encoder(self.folder, name, (models_folder(),))
        return Sentences(self.entries, self.structures, encoder)

    @cached_property
    def lifting(self) -> LiftingTextEncoder:
        """The text encoder, with its guess of the colours once that is learned."""
        encoder = self._finished("text_lifting", LiftingTextEncoder(self.recipe.lifting))
        if self._state("text_colors").is_file():
            self._finished("text_colors", encoder)
        return encoder

    @cached_property
    def structure_flow(self) -> SparseStructureFlowModel:
        """The flow of the structure's latent."""
        return self._finished(
            "text_structure_flow", SparseStructureFlowModel.from_args(self.recipe.structure_flow)
        )

    @cached_property
    def latent_flow(self) -> SLatFlowModel:
        """The flow of the structured latent."""
        return self._finished("text_latent_flow", SLatFlowModel.from_args(self.recipe.latent_flow))

    def _finished(self, name: str, module: nn.Module) -> nn.Module:
        if not self._state(name).is_file():
            raise UserError(f"{self.folder} holds no trained {name}; train that part first.")
        return load_averaged(module, self._state(name))

    def _state(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"
