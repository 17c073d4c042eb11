"""Pictures through the whole pipeline with a model folder's own settings, timed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from PIL import Image

from backend.pipeline import Pipeline
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh


@dataclass(frozen=True)
class Reconstruction:
    """coords (L, 3) i32 occupied voxels · mesh · gaussians · seconds of wall time."""

    coords: torch.Tensor
    mesh: Mesh
    gaussians: Gaussians
    seconds: float


def reconstruct(pipeline: Pipeline, picture: Image.Image, seed: int = 1) -> Reconstruction:
    """A preprocessed picture (RGB on black) -> mesh and Gaussians."""
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    folder = pipeline.folder
    condition = pipeline.condition_on_pictures([picture])
    latent = pipeline.sample_structure_latent(condition, folder.structure_sampler, generator)
    coords = pipeline.decode_structure(latent)
    (latents,) = pipeline.sample_structured_latent(condition, coords, folder.slat_sampler, generator)
    gaussians = pipeline.decode_gaussians(coords[0], latents)
    mesh = pipeline.decode_mesh(coords[0], latents)
    return Reconstruction(coords[0], mesh, gaussians, time.monotonic() - started)
