"""The settings of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from backend.errors import UserError
from backend.training.fine_tune_flows import FlowTraining

ROLES = {"structure_flow": "sparse_structure_flow_model", "latent_flow": "slat_flow_model"}
PARTS = tuple(ROLES)


@dataclass(frozen=True)
class FineTuneConfig:
    """How a model is taught.

    `minutes` are for the training of all parts together; 0 leaves the length to `steps`, which count for each
    part. `pictures` of an object are drawn, and its features averaged over `feature_views`. With `recompute`
    no activations are kept in memory; None decides by the network's size.
    """

    parts: tuple[str, ...] = PARTS
    steps: int = 2000
    minutes: float = 0.0
    learning_rate: float = 1e-5
    warm_up: int = 50
    ema: float = 0.999
    structure_batch: int = 4
    latent_batch: int = 2
    pictures: int = 24
    feature_views: int = 150
    flow: FlowTraining = FlowTraining()
    recompute: bool | None = None
    bfloat16: bool = True
    seed: int = 0

    def checked(self) -> FineTuneConfig:
        """Self, or a UserError that names what is out of range."""
        unknown = [name for name in self.parts if name not in PARTS]
        if unknown or not self.parts:
            raise UserError(
                f"Fine-tuning knows the parts {' and '.join(PARTS)}, not {', '.join(unknown) or 'none'}."
            )
        if min(self.pictures, self.feature_views, self.steps, self.structure_batch, self.latent_batch) < 1:
            raise UserError("Pictures, views, steps and batch sizes must be at least 1.")
        if not 0 < self.learning_rate < 1:
            raise UserError(f"The learning rate is {self.learning_rate}; choose one such as 1e-5.")
        return self
