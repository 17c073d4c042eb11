"""The run that trains the starter's text model, on the encoders and decoders of a starter's model folder."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from backend.checkpoints.find_model import models_folder
from backend.checkpoints.model_folder import ModelFolder
from backend.encoding.latent_encoders import LatentEncoder, StructureEncoder, is_view_aligned
from backend.errors import UserError
from backend.geometry.mesh_files import Entry
from backend.lifting.known_words import KNOWN_WORDS
from backend.lifting.surface import FEATURES
from backend.lifting.text_encoder import LiftingTextEncoder
from backend.models.minilm_text import load_sentence_encoder
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.calibrate import SAMPLING
from backend.training.distributed import ALONE, World
from backend.training.encoders import color_distance, color_part, shape_part
from backend.training.export import pipeline_settings, write_folder
from backend.training.flows import latent_flow_part, structure_flow_part
from backend.training.loop import CPU, LoopConfig, Part
from backend.training.run import Run
from backend.training.text.batches import ColoredObjects, Examples
from backend.training.text.captions import known_words
from backend.training.text.codes import Codes, object_codes
from backend.training.text.objects import Objects, prepare_objects
from backend.training.text.prior import prior_part
from backend.training.text.recipe import PARTS, TextRecipe
from backend.training.text.sentences import Sentences

TEXT_ENCODER = "ckpts/text_encoder"
FLOWS = {
    "sparse_structure_flow_model": "ckpts/ss_flow_txt_dit_16l8",
    "slat_flow_model": "ckpts/slat_flow_txt_dit_32l8p2",
}
DECODERS = ("sparse_structure_decoder", "slat_decoder_mesh", "slat_decoder_gs")


class TextRun(Run):
    """Builds the text parts and hands out what they learned; OutOfTime if preparing takes beyond `until`."""

    parts = PARTS

    def __init__(
        self,
        recipe: TextRecipe,
        entries: Sequence[Entry],
        starter: ModelFolder,
        folder: Path,
        device: torch.device = CPU,
        world: World = ALONE,
        seed: int = 0,
        until: float = math.inf,
    ):
        super().__init__(folder, device, world)
        if starter.text_cond_model or not is_view_aligned(starter):
            raise UserError(
                f"A text model stands on a starter; {starter.name} is none. Name one with --from."
            )
        self.recipe = recipe
        self.starter = starter
        self.seed = seed
        self._entries = tuple(entry for entry in entries if not entry.brand)
        self._until = until

    def config(self, name: str) -> LoopConfig:
        return replace(self.recipe.loops[name], seed=self.seed)

    def build(self, name: str) -> Part:
        recipe = self.recipe
        given = Examples(self.sentences, self.objects, self.codes, self.seed)
        if name == "lifting":
            encoder = StructureEncoder(self.starter, CPU).network
            batch = partial(given.shapes, size=recipe.lifting_batch)
            return shape_part(self._untrained(), batch, encoder, recipe.lifting_cells)
        if name == "colors":
            latents = LatentEncoder(self.starter, CPU, FEATURES)
            colored = partial(given.colors, size=recipe.color_batch)
            return color_part(
                self.lifting, colored, latents.network, latents.mean, latents.std, voxel_distance
            )
        if name == "prior":
            meanings = partial(given.meanings, size=recipe.prior_batch)
            return prior_part(self.lifting, meanings, recipe.flow)
        if name == "structure_flow":
            module = SparseStructureFlowModel.from_args(recipe.structure_flow)
            examples = partial(given.structures, size=recipe.structure_flow_batch)
            return structure_flow_part(module, examples, recipe.flow)
        latent = partial(given.latents, size=recipe.latent_flow_batch)
        return latent_flow_part(SLatFlowModel.from_args(recipe.latent_flow), latent, recipe.flow)

    @cached_property
    def objects(self) -> Objects:
        """Every object's surface, solid and latents, as it is and painted."""
        place = self.folder / "prepared"
        return prepare_objects(self._entries, self.starter, place, self.device, self._until, self.world)

    @cached_property
    def sentences(self) -> Sentences:
        """Which sentences are said, and their tokens."""
        name = self.recipe.lifting.sentence_encoder
        encoder = load_sentence_encoder(self.folder, name, (models_folder(),))
        return Sentences(self.objects.entries, encoder)

    @cached_property
    def codes(self) -> Codes:
        """Every object's code."""
        return object_codes(self.objects, self.recipe.lifting)

    @property
    def lifting(self) -> LiftingTextEncoder:
        """The text encoder, as far as it has been trained."""
        encoder = LiftingTextEncoder(self.recipe.lifting)
        for name in ("lifting", "colors", "prior"):
            if name == "lifting" or self.state(name).is_file():
                encoder = self.trained(name, encoder)
        return encoder

    def _untrained(self) -> LiftingTextEncoder:
        """The text encoder, which begins with what the components themselves make of a code."""
        encoder = LiftingTextEncoder(self.recipe.lifting)
        with torch.no_grad():
            for layer, basis in ((encoder.solid, self.codes.solid), (encoder.tint, self.codes.tint)):
                layer.weight.copy_(basis.components.T)
                layer.bias.copy_(basis.mean)
        return encoder

    def export(self, folder: Path) -> None:
        """Writes the model folder; as published ones do, it names the decoders of the starter beside it."""
        structure = SparseStructureFlowModel.from_args(self.recipe.structure_flow)
        latent = SLatFlowModel.from_args(self.recipe.latent_flow)
        networks = {
            TEXT_ENCODER: self.lifting,
            FLOWS["sparse_structure_flow_model"]: self.trained("structure_flow", structure),
            FLOWS["slat_flow_model"]: self.trained("latent_flow", latent),
        }
        home = self.starter.path
        decoders = {
            role: f"{home.name}/{self.starter.models[role].relative_to(home).as_posix()}" for role in DECODERS
        }
        mean, std = self.starter.slat_normalization
        pipeline = pipeline_settings(
            "TrellisTextTo3DPipeline",
            {**decoders, **FLOWS},
            SAMPLING,  # a few minutes make flows that refine a prediction and are lost in pure noise
            (list(mean), list(std)),
            {"text_cond_model": TEXT_ENCODER},
        )
        words = "\n".join(known_words(self.objects.entries)) + "\n"
        texts = {KNOWN_WORDS: words}
        write_folder(folder, networks, pipeline, self.objects.entries, "README-text.md", texts)


def voxel_distance(predicted: Tensor, batch: ColoredObjects) -> Tensor:
    """Mean distance of colours in [−1, 1] (B, 3, r, r, r) from those of the objects' voxels, in [0, 1]."""
    errors = []
    for one, coords, tints in zip(predicted, batch.coords, batch.tints, strict=True):
        x, y, z = coords.long().unbind(1)
        errors.append(color_distance(one[:, x, y, z].T, tints).mean())
    return torch.stack(errors).mean()
