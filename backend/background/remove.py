"""Makes the background of a picture transparent: by a network whose file is here, or by plain colour."""

from pathlib import Path

import numpy as np
from PIL import Image

from backend.background.plain import key_out_plain_background
from backend.background.removers import FILE_NAME, find_remover, remove_with
from backend.checkpoints.find_model import models_folder
from backend.errors import UserError


def remove_background(image: Image.Image, model_file: Path | None = None) -> Image.Image:
    """RGB -> RGBA of the same size, the object opaque.

    `model_file` is the network's file that the user set; None looks in the usual places. Raises UserError
    that says how to go on where there is no model file and the background is not plain.
    """
    found = find_remover(model_file)
    if found is not None:
        return remove_with(image, found)
    cutout = key_out_plain_background(image)
    if cutout is None:
        raise UserError(
            "The picture has neither transparency nor a plain background; give one that has one,"
            " or download a background remover with 'python -m backend models download u2net'"
            f" (it can also be put by hand at '{models_folder() / FILE_NAME}')."
        )
    if not np.asarray(cutout.getchannel("A")).any():
        raise UserError("The picture shows nothing but a plain background; give one that shows an object.")
    return cutout
