"""Pictures through the whole pipeline with a model folder's own settings, timed. R resolution · L voxels."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh
from backend.trellis.pipeline import Pipeline


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
def reconstruct(pipeline: Pipeline, picture: Image.Image, seed: int = 1) -> Reconstruction:
    """A picture as cut out -> what Generate makes of it."""
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    folder = pipeline.folder
    condition = pipeline.condition_on_pictures([picture])
    latent = pipeline.sample_structure_latent(condition, folder.structure_sampler, generator)
    occupied = pipeline.model("sparse_structure_decoder")(latent)[0, 0] > 0
    seconds = time.monotonic() - started
    if not occupied.any():
        return Reconstruction(occupied.cpu(), None, None, seconds)
    started = time.monotonic()  # decoded once more, so that the time is that of Generate
    coords = pipeline.decode_structure(latent)
    (latents,) = pipeline.sample_structured_latent(condition, coords, folder.slat_sampler, generator)
    gaussians = pipeline.decode_gaussians(coords[0], latents)
    mesh = pipeline.decode_mesh(coords[0], latents)
    return Reconstruction(occupied.cpu(), mesh, gaussians, seconds + time.monotonic() - started)
