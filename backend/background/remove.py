"""Makes the background of a picture transparent: by U²-Net where its file is here, else by plain colour."""

from pathlib import Path

import numpy as np
from PIL import Image

from backend.background.plain import key_out_plain_background
from backend.background.u2net import FILE_NAME, download_u2net, find_u2net, remove_with_u2net
from backend.checkpoints.find_model import models_folder
from backend.errors import UserError

__all__ = ["download_u2net", "remove_background"]


def remove_background(image: Image.Image, model_file: Path | None = None) -> Image.Image:
    """RGB -> RGBA of the same size, the object opaque.

    `model_file` is the U²-Net file that the user set; None looks in the usual places. Raises UserError that
    says how to go on where there is no model file and the background is not plain.
    """
    found = find_u2net(model_file)
    if found is not None:
        return remove_with_u2net(image, found)
    cutout = key_out_plain_background(image)
    if cutout is None:
        raise UserError(
            "The picture has neither transparency nor a plain background; give one that has one,"
            f" or download the background remover with 'python -m backend.background.u2net'"
            f" (it can also be put by hand at '{models_folder() / FILE_NAME}')."
        )
    if not np.asarray(cutout.getchannel("A")).any():
        raise UserError("The picture shows nothing but a plain background; give one that shows an object.")
    return cutout
