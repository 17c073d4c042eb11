"""The settings of fine-tuning, and the parts of a model that it trains."""

from dataclasses import dataclass
from pathlib import Path

from backend.checkpoints.model_folder import ModelFolder
from backend.encoding.latent_encoders import is_view_aligned
from backend.errors import UserError
from backend.training.flows import FlowTraining

FLOWS = {"structure_flow": "sparse_structure_flow_model", "latent_flow": "slat_flow_model"}
"""Part -> role in pipeline.json."""
LIFTING = "lifting"
"""The starter's picture encoder, which predicts both latents; published models have an encoder that stays."""
PARTS = (LIFTING, *FLOWS)


@dataclass(frozen=True)
class FineTuneConfig:
    """How a model is fine-tuned.

    `parts` are those of the model unless some are named. `minutes` are for the training of all parts
    together; 0 leaves the length to `steps`, which count for each part. `pictures` of an object are drawn,
    and its features averaged over `feature_views`. With `recompute` no activations are kept in memory. The
    learning rate and `recompute` follow from the network's size where they are None.
    """

    parts: tuple[str, ...] | None = None
    steps: int = 2000
    minutes: float = 0.0
    learning_rate: float | None = None
    warm_up: int = 50
    ema: float = 0.999
    lifting_batch: int = 4
    structure_batch: int = 4
    latent_batch: int = 2
    pictures: int = 24
    feature_views: int = 150
    flow: FlowTraining = FlowTraining()
    recompute: bool | None = None
    bfloat16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        batches = self.lifting_batch, self.structure_batch, self.latent_batch
        if min(self.pictures, self.feature_views, self.steps, *batches) < 1 or self.minutes < 0:
            raise UserError("Pictures, views, steps and batch sizes must be at least 1, minutes at least 0.")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise UserError(f"The learning rate is {self.learning_rate}; choose one such as 1e-5.")

    def parts_of(self, folder: ModelFolder) -> tuple[str, ...]:
        """The parts to train, in order; UserError for one that the model does not have."""
        aligned = is_view_aligned(folder)
        if aligned and folder.text_cond_model:
            raise UserError(
                f"The model {folder.name} cannot be trained further; make it anew of your objects with"
                " --recipe starter-text, or train the one of pictures."
            )
        known = PARTS if aligned else tuple(FLOWS)
        chosen = known if self.parts is None else self.parts
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise UserError(
                f"Of the model {folder.name} these parts can be trained: {', '.join(known)};"
                f" not {', '.join(unknown) or 'none'}."
            )
        return tuple(name for name in known if name in chosen)


def checkpoint_of(folder: ModelFolder, part: str) -> Path:
    """The checkpoint, without suffix, that a part changes; UserError where the folder does not name it."""
    if part == LIFTING:
        return folder.path / str(folder.image_cond_model)
    if FLOWS[part] not in folder.models:
        raise UserError(f"The model {folder.name} has no {FLOWS[part]}; leave out the part {part}.")
    return folder.models[FLOWS[part]]
