"""Scenes -> the latents of a view-aligned model such as the starter.

L voxels · C channels · r, R resolutions of the structure's latent and of the structure.
"""

import numpy as np
import torch
from torch import Tensor

from backend.checkpoints.model_folder import ModelFolder
from backend.encoding.latent_encoders import LatentEncoder, StructureEncoder
from backend.geometry.scene import Scene, occupancy
from backend.lifting.mesh_features import voxel_features
from backend.lifting.surface import FEATURES
from backend.representations.enclosed import enclosed
from backend.training.dataset import grown_coords


class SceneEncoder:
    """Both encoders of a view-aligned model such as the starter."""

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self.structure_encoder = StructureEncoder(folder, device)
        self.latent_encoder = LatentEncoder(folder, device, FEATURES)
        self.resolution = self.latent_encoder.resolution

    def structure(self, scene: Scene) -> dict[str, Tensor]:
        """latents (C, r, r, r) f32 · packed, packed_solid (R³ / 8,) u8, bits of surface and solid."""
        volume = occupancy(scene, self.structure_encoder.resolution)
        packed, packed_solid = (torch.from_numpy(np.packbits(one)) for one in (volume, enclosed(volume)))
        return {"latents": self.structure_encoder(volume), "packed": packed, "packed_solid": packed_solid}

    def latent(self, scene: Scene, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """coords (L, 3) i32, grown as generated ones are, and their latent (L, C) f32, normalised."""
        coords = grown_coords(scene, self.structure_encoder.resolution, self.resolution, rng)
        features = torch.from_numpy(voxel_features(scene, coords, self.resolution))
        return torch.from_numpy(coords), self.latent_encoder(coords, features)
