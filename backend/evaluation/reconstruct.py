"""Pictures through the whole pipeline with a model folder's own settings, timed. R resolution · L voxels."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh
from backend.trellis.decoding import EmptyStructure
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings


@dataclass(frozen=True)
class Reconstruction:
    """occupied (R, R, R) bool at the structure's full resolution · mesh · gaussians · seconds of wall time.

    Mesh and Gaussians are None where the model finds no shape at all.
    """

    occupied: Tensor
    mesh: Mesh | None
    gaussians: Gaussians | None
    seconds: float


@torch.inference_mode()
def reconstruct(networks: Networks, picture: Image.Image, seed: int = 1) -> Reconstruction:
    """A picture as cut out -> what Generate makes of it."""
    started = time.monotonic()
    folder = networks.folder
    settings = Settings(folder.structure_sampler, folder.slat_sampler, ("gaussian", "mesh"))
    outputs: dict[str, Any] = {}
    try:
        for event in generate(networks, [picture], settings, torch.Generator().manual_seed(seed)):
            if isinstance(event, Output):
                outputs[event.kind] = event.value
        occupied = outputs["voxels"].occupied
    except EmptyStructure:
        occupied = networks["sparse_structure_decoder"](outputs["structure_latent"])[0, 0] > 0
    seconds = time.monotonic() - started
    return Reconstruction(occupied.cpu(), outputs.get("mesh"), outputs.get("gaussian"), seconds)
