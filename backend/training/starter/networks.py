"""Where the starter's networks lie in its model folder, and weights of such a folder to begin with."""

import logging
from pathlib import Path

from torch import nn

from backend.checkpoints.weights import read_model
from backend.errors import UserError

log = logging.getLogger(__name__)

# The published names, without suffix.
MODELS = {
    "sparse_structure_decoder": "ckpts/ss_dec_conv3d_16l8",
    "sparse_structure_flow_model": "ckpts/ss_flow_img_dit_16l8",
    "slat_decoder_mesh": "ckpts/slat_dec_mesh_swin8_32l8m128c",
    "slat_decoder_gs": "ckpts/slat_dec_gs_swin8_32l8gs8",
    "slat_flow_model": "ckpts/slat_flow_img_dit_32l8p2",
}
ENCODERS = {"structure": "ckpts/ss_enc_conv3d_16l8", "latent": "ckpts/slat_enc_swin8_32l8"}
IMAGE_ENCODER = "ckpts/image_encoder"
# Part -> its networks by attribute of its module ("" for the module itself).
NETWORKS = {
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
    "mesh_decoder": {"": MODELS["slat_decoder_mesh"]},
    "gaussian_decoder": {"": MODELS["slat_decoder_gs"]},
}
_OWN = "structure_head.encoder."  # the structure encoder, which this training has made anew


def load_initial(name: str, whole: nn.Module, folder: Path, finished: bool = False) -> bool:
    """Fills a part's module as far as the folder has its networks, and says whether it has any; UserError
    where one has other sizes.

    finished: the part is not trained here, nor is what it stands on.
    """
    found = False
    for attribute, path in NETWORKS.get(name, {}).items():
        if not (folder / f"{path}.safetensors").is_file():
            continue
        module = whole.get_submodule(attribute)
        try:
            state, own = read_model(folder / path).state_dict(), module.state_dict()
            if not finished:
                state |= {key: value for key, value in own.items() if key.startswith(_OWN)}
            module.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(
                f"{folder / path} has other sizes than the recipe; train without it ({error})."
            ) from error
        log.info("%s begins with %s", name, folder / path)
        found = True
    return found
