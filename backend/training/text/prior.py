"""Training of the prior: which codes a sentence may mean (flow matching, Lipman et al., 2022)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from backend.lifting.text_encoder import LiftingTextEncoder
from backend.training.flows import TIME_SCALE, FlowTraining
from backend.training.loop import Part
from backend.training.losses import drop_condition, flow_matching_loss, noised_latent
from backend.training.text.batches import CodeExamples


def prior_part(
    module: LiftingTextEncoder, batch: Callable[[int], CodeExamples], settings: FlowTraining
) -> Part[CodeExamples]:
    """Velocity of the codes; the encoder's other layers stay as they are."""
    module.requires_grad_(False)
    module.prior.requires_grad_(True)

    def loss(batch: CodeExamples, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        sentence = drop_condition(module.sentence(batch.tokens), settings.drop, generator)
        x, t, noise = noised_latent(
            batch.codes, len(batch.codes), settings.time_mean, settings.time_std, generator
        )
        velocity = module.prior(x, TIME_SCALE * t, sentence)
        return flow_matching_loss(velocity, batch.codes, noise), {"time": t.mean()}

    return Part("prior", module, batch, loss)
