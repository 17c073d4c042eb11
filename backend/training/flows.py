"""Both rectified flows, conditioned on the frozen lifting encoder's tokens (paper section 3.3).

B batch · L voxels · C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backend.lifting.image_encoder import LiftingImageEncoder
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.structured_latent_flow import SLatFlowModel
from backend.training.dataset import ObjectSource
from backend.training.encoders import LiftingBatch, lifting_batch
from backend.training.loop import Part
from backend.training.losses import drop_condition, flow_matching_loss, noised_latent
from backend.training.starter.autoencoder_structure import StructureAutoencoder
from backend.training.starter.latent_targets import LatentTargets
from backend.training.starter.recipe import Recipe

TIME_SCALE = 1000.0  # the flow models take 1000·t


def structure_flow_part(
    recipe: Recipe, source: ObjectSource, structure: StructureAutoencoder, lifting: LiftingImageEncoder
) -> Part[LiftingBatch]:
    """Velocity of the sparse structure's latent."""
    module = SparseStructureFlowModel.from_args(recipe.structure_flow)

    def batch(step: int) -> LiftingBatch:
        return lifting_batch(recipe, source, step, recipe.structure_flow_batch, latents=0)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            tokens = lifting.tokens(*lifting.lift(batch.pixels)).float()
            x0 = structure.encode(batch.occupied).float()
        x, t, noise = noised_latent(x0, len(x0), recipe.time_mean, recipe.time_std, generator)
        context = module.context(drop_condition(tokens, recipe.drop_condition, generator))
        error = flow_matching_loss(module(x, TIME_SCALE * t, context), x0, noise)
        return error, {"time": t.mean()}

    return Part("structure_flow", module, batch, loss)


def latent_flow_part(
    recipe: Recipe, source: ObjectSource, latents: LatentTargets, lifting: LiftingImageEncoder
) -> Part[LiftingBatch]:
    """Velocity of the structured latent, one object after the other within a batch."""
    module = SLatFlowModel.from_args(recipe.latent_flow)

    def batch(step: int) -> LiftingBatch:
        size = recipe.latent_flow_batch
        return lifting_batch(recipe, source, step, size, latents=size)

    def loss(batch: LiftingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            tokens = lifting.tokens(*lifting.lift(batch.pixels)).float()
        tokens = drop_condition(tokens, recipe.drop_condition, generator)
        errors = []
        for one, coords, features in zip(tokens, batch.coords, batch.features, strict=True):
            x0 = latents(coords, features)
            x, t, noise = noised_latent(x0, 1, recipe.time_mean, recipe.time_std, generator)
            velocity = module(x, TIME_SCALE * t, module.context(one[None]), module.structure(coords))
            errors.append(flow_matching_loss(velocity, x0, noise))
        return torch.stack(errors).mean(), {"voxels": float(sum(map(len, batch.coords)))}

    return Part("latent_flow", module, batch, loss)
