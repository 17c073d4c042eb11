"""The autoencoder of the structured latent alone: true voxels and surface -> latents -> mesh. L voxels."""

from dataclasses import dataclass

import numpy as np
import torch

from backend.encoding.latent_encoders import LatentEncoder, is_view_aligned
from backend.errors import MissingModel
from backend.geometry.mesh_files import Asset
from backend.geometry.portrait import decoded_asset
from backend.geometry.scene import Scene, occupancy, pooled_occupancy
from backend.lifting.mesh_features import voxel_features
from backend.lifting.surface import FEATURES
from backend.measures.unit_cube import RESOLUTION
from backend.trellis.decoding import StructuredLatent, decode
from backend.trellis.networks import Networks


@dataclass(frozen=True)
class Autoencoder:
    """The encoder beside a pipeline's mesh decoder."""

    encoder: LatentEncoder
    pipeline: Networks

    def mesh(self, scene: Scene) -> Asset:
        """The scene's mesh after encoding and decoding, as it stands; without faces if none is left."""
        encoder, device = self.encoder, self.pipeline.device
        voxels = pooled_occupancy(occupancy(scene, RESOLUTION), encoder.resolution)
        coords = np.argwhere(voxels).astype(np.int32)
        features = torch.from_numpy(voxel_features(scene, coords, encoder.resolution))
        latents = (encoder(coords, features) * encoder.std + encoder.mean).to(device)
        places = torch.from_numpy(coords).to(device)
        return decoded_asset(
            decode(self.pipeline, "mesh", StructuredLatent(places, latents, encoder.resolution))
        )


def open_autoencoder(pipeline: Networks) -> Autoencoder | None:
    """The autoencoder of a model trained here; None for others, whose encoders see other features."""
    try:
        encoder = LatentEncoder(pipeline.folder, pipeline.device, FEATURES)
    except MissingModel:
        return None
    return Autoencoder(encoder, pipeline) if is_view_aligned(pipeline.folder) else None
