"""Weights to begin with: a part takes over those of a model folder, so that a trained model goes on."""

import logging
from pathlib import Path

from torch import nn

from backend.checkpoints.weights import read_model
from backend.errors import UserError
from backend.training.export import ENCODERS, IMAGE_ENCODER, MODELS
from backend.training.loop import Part

log = logging.getLogger(__name__)

_OWN = "structure_head.encoder."  # the structure encoder, which this training has made anew
# Part -> where its networks lie in the model folder, by attribute of its module ("" for the module itself).
_ORIGINS = {
    "structure_autoencoder": {
        "encoder": ENCODERS["structure"],
        "decoder": MODELS["sparse_structure_decoder"],
    },
    "latent_autoencoder": {
        "encoder": ENCODERS["latent"],
        "mesh_decoder": MODELS["slat_decoder_mesh"],
        "gaussian_decoder": MODELS["slat_decoder_gs"],
    },
    "lifting": {"": IMAGE_ENCODER},
    "structure_flow": {"": MODELS["sparse_structure_flow_model"]},
    "latent_flow": {"": MODELS["slat_flow_model"]},
}


def load_initial(part: Part, folder: Path) -> None:
    """Fills the part's module as far as the folder has its networks; other parts stand on these anyway.

    Raises UserError where a network has other sizes than the recipe's.
    """
    for attribute, path in _ORIGINS.get(part.name, {}).items():
        if not (folder / f"{path}.safetensors").is_file():
            continue
        module: nn.Module = part.module.get_submodule(attribute)
        try:
            state = read_model(folder / path).state_dict()
            own = {key: value for key, value in module.state_dict().items() if key.startswith(_OWN)}
            module.load_state_dict({**state, **own})
        except RuntimeError as error:
            raise UserError(
                f"{folder / path} has other sizes than the recipe; train without it ({error})."
            ) from error
        log.info("%s begins with %s", part.name, folder / path)
