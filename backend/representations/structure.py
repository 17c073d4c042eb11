"""The sparse structure: which voxels the decoder's logits call occupied. R, r resolutions · L voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.errors import UserError


def occupied_voxels(logits: Tensor, resolution: int | None = None) -> Tensor:
    """Logits (R, R, R) -> sorted voxels (L, 3) i64 where the logit is above 0.

    With a coarser resolution r, which must divide R, a voxel is occupied where any of the (R/r)³ in it is.
    Raises UserError where r does not divide R.
    """
    size = logits.shape[0]
    resolution = resolution or size
    if size % resolution:
        raise UserError(
            f"A structure of {size} voxels a side cannot hold a structured latent of {resolution}; "
            "the model's configurations do not belong together."
        )
    factor = size // resolution
    if factor > 1:
        logits = F.max_pool3d(logits[None, None], factor)[0, 0]
    return torch.argwhere(logits > 0)
