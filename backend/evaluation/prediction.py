"""What a model makes of a case with its own settings, timed, and brought into the unit cube. R resolution."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.background import remove_background
from backend.encoding.latent_encoders import is_view_aligned
from backend.evaluation.cases import Case
from backend.geometry.mesh_files import Asset
from backend.geometry.portrait import decoded_asset
from backend.geometry.voxelize import EMPTY
from backend.image import cut_out
from backend.measures.unit_cube import (
    RESOLUTION,
    Placement,
    place_gaussians,
    placement,
    unit_occupancy,
)
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


@dataclass(frozen=True)
class Prediction:
    """occupied (R, R, R) bool · mesh, without faces if there is none · gaussians · seconds it took."""

    occupied: np.ndarray
    mesh: Asset
    gaussians: Gaussians | None = None
    seconds: float | None = None


def predict(pipeline: Networks, case: Case, seed: int) -> Prediction:
    """The case's picture through preprocessing and pipeline, as Generate takes it."""
    started = time.monotonic()
    picture = cut_out(case.cutout, remove_background)
    preprocessing = time.monotonic() - started
    result = reconstruct(pipeline, picture, seed)
    azimuth = None if is_view_aligned(pipeline.folder) else case.scene.view.azimuth
    return placed(result, azimuth, preprocessing + result.seconds)


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


def placed(result: Reconstruction, azimuth: float | None, seconds: float) -> Prediction:
    """The result as it stands, or turned by an azimuth and normalised, mesh and Gaussians by the mesh's
    bounding box.
    """
    structure = result.occupied.numpy()
    occupied = _split(structure) if azimuth is None else unit_occupancy(structure, azimuth)
    if result.mesh is None or len(result.mesh.faces) == 0:
        return Prediction(occupied, EMPTY, None, seconds)
    mesh = decoded_asset(result.mesh)
    where = Placement() if azimuth is None else placement(mesh.vertices[np.unique(mesh.faces)], azimuth)
    splats = None if result.gaussians is None else place_gaussians(result.gaussians, where)
    return Prediction(occupied, replace(mesh, vertices=where.apply(mesh.vertices)), splats, seconds)


def _split(occupied: np.ndarray) -> np.ndarray:
    """A coarser structure with every voxel split, so that there are 64 a side, as the truth has."""
    factor = max(1, RESOLUTION // len(occupied))
    return occupied.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)
