"""The autoencoder of the structured latent alone: true voxels and surface -> latents -> mesh. L voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from backend.checkpoints.weights import read_model
from backend.evaluation.prediction import is_view_aligned
from backend.evaluation.unit_cube import mesh_asset
from backend.geometry.mesh_files import Asset
from backend.geometry.scene import Scene, occupancy, pooled_occupancy
from backend.lifting.mesh_features import voxel_features
from backend.lifting.surface import FEATURES
from backend.models.structured_latent_vae import SLatEncoder
from backend.trellis.pipeline import Pipeline

STRUCTURE_RESOLUTION = 64
_ENCODER = "ckpts/slat_enc_swin8_32l8"


@dataclass(frozen=True)
class Autoencoder:
    """The encoder beside a pipeline's mesh decoder."""

    encoder: SLatEncoder
    pipeline: Pipeline

    @torch.inference_mode()
    def mesh(self, scene: Scene) -> Asset:
        """The scene's mesh after encoding and decoding, as it stands; without faces if none is left."""
        resolution = self.encoder.config.resolution
        voxels = pooled_occupancy(occupancy(scene, STRUCTURE_RESOLUTION), resolution)
        coords = np.argwhere(voxels).astype(np.int32)
        places = torch.from_numpy(coords).to(self.pipeline.device)
        features = torch.from_numpy(voxel_features(scene, coords, resolution)).to(self.pipeline.device)
        latents = self.encoder(features, self.encoder.structure(places))[0].float()
        return mesh_asset(self.pipeline.decode_mesh(places, latents))


def open_autoencoder(pipeline: Pipeline) -> Autoencoder | None:
    """The autoencoder of a model trained here; None for others, whose encoders see other features."""
    path = pipeline.folder.path / _ENCODER
    if not is_view_aligned(pipeline.folder) or not path.with_name(path.name + ".json").is_file():
        return None
    encoder = read_model(path, torch.float32, pipeline.device)
    if not isinstance(encoder, SLatEncoder) or encoder.config.in_channels != FEATURES:
        return None
    return Autoencoder(encoder, pipeline)
