"""Both rectified flows, conditioned on a sentence's tokens (paper section 3.3).

B batch · L tokens or voxels · C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.flows import TIME_SCALE
from backend.training.loop import Part
from backend.training.losses import drop_condition, flow_matching_loss, noised_latent
from backend.training.text.batches import CodeBatch, LatentBatch, code_batch, latent_batch
from backend.training.text.latents import StoredLatents
from backend.training.text.recipe import TextRecipe
from backend.training.text.sentences import Sentences
from backend.training.text.structures import Structures


def text_structure_flow_part(
    recipe: TextRecipe, sentences: Sentences, structures: Structures
) -> Part[CodeBatch]:
    """Velocity of the sparse structure's latent."""
    module = SparseStructureFlowModel.from_args(recipe.structure_flow)
    null = sentences.tokens([""])

    def batch(step: int) -> CodeBatch:
        return code_batch(recipe, sentences, structures, step, recipe.structure_flow_batch)

    def loss(batch: CodeBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x0 = batch.latents
        x, t, noise = noised_latent(x0, len(x0), recipe.time_mean, recipe.time_std, generator)
        context = module.context(drop_condition(batch.tokens, recipe.drop_condition, generator, null))
        error = flow_matching_loss(module(x, TIME_SCALE * t, context), x0, noise)
        return error, {"time": t.mean()}

    return Part("text_structure_flow", module, batch, loss)


def text_latent_flow_part(
    recipe: TextRecipe, sentences: Sentences, latents: StoredLatents
) -> Part[LatentBatch]:
    """Velocity of the structured latent, one object after the other within a batch."""
    module = SLatFlowModel.from_args(recipe.latent_flow)
    null = sentences.tokens([""])

    def batch(step: int) -> LatentBatch:
        return latent_batch(recipe, sentences, latents, step, recipe.latent_flow_batch)

    def loss(batch: LatentBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        tokens = drop_condition(batch.tokens, recipe.drop_condition, generator, null)
        errors = []
        for one, coords, x0 in zip(tokens, batch.coords, batch.latents, strict=True):
            x, t, noise = noised_latent(x0, 1, recipe.time_mean, recipe.time_std, generator)
            velocity = module(x, TIME_SCALE * t, module.context(one[None]), module.structure(coords))
            errors.append(flow_matching_loss(velocity, x0, noise))
        return torch.stack(errors).mean(), {"voxels": float(sum(map(len, batch.coords)))}

    return Part("text_latent_flow", module, batch, loss)
