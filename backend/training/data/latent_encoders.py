"""The encoders of a model folder: meshes become the latents that its flows learn to make.

The published repositories carry them beside the decoders, though pipeline.json does not name them.
L voxels · C channels · r, R resolutions of the structure's latent and of the structure.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.checkpoints.model_folder import ModelFolder, models_folder
from backend.checkpoints.weights import read_model
from backend.errors import MissingModel, UserError
from backend.geometry.scene import Scene, occupancy, pooled_occupancy
from backend.lifting.mesh_features import voxel_features
from backend.lifting.surface import FEATURES
from backend.training.dataset import grown, solid

STRUCTURE_ENCODER = "ss_enc_conv3d_16l8_fp16"
LATENT_ENCODER = "slat_enc_swin8_B_64l8_fp16"
PUBLISHED_IN = "microsoft/TRELLIS-image-large"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a folder: its path without suffix and the `args` of its JSON file."""

    path: Path
    args: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.path.with_name(f"{self.path.name}.safetensors")


def flow_checkpoint(folder: ModelFolder, role: str) -> Checkpoint:
    """The flow of a role of pipeline.json; MissingModel where the folder has none."""
    if role not in folder.models:
        raise MissingModel(
            f"The model {folder.name} has no {role}, so there is nothing to train; choose another."
        )
    path = folder.models[role]
    settings = _settings(path.with_name(f"{path.name}.json"))
    if settings is None:
        raise MissingModel(f"The model file {path}.json is missing; download the model's whole folder again.")
    return Checkpoint(path, settings["args"])


def structure_encoder(folder: ModelFolder) -> Checkpoint:
    """The encoder of the sparse structure that fits the folder's flow."""
    flow = flow_checkpoint(folder, "sparse_structure_flow_model")
    wanted = {"latent_channels": flow.args.get("in_channels")}
    return _encoder(folder, "SparseStructureEncoder", "sparse_structure_decoder", wanted, STRUCTURE_ENCODER)


def latent_encoder(folder: ModelFolder) -> Checkpoint:
    """The encoder of the structured latent that fits the folder's flow."""
    flow = flow_checkpoint(folder, "slat_flow_model")
    wanted = {"latent_channels": flow.args.get("in_channels"), "resolution": flow.args.get("resolution")}
    return _encoder(folder, "SLatEncoder", "slat_decoder_mesh", wanted, LATENT_ENCODER)


def is_view_aligned(folder: ModelFolder) -> bool:
    """Whether objects stand as the picture shows them, as in the starter, or in a frame of their own."""
    if folder.image_cond_model:
        return "/" in folder.image_cond_model
    return latent_encoder(folder).args.get("in_channels") == FEATURES


class StructureEncoder:
    """Callable: occupancy (R, R, R) bool -> latent (C, r, r, r) f32, the posterior's mean."""

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self._device = device
        self.network = _read(structure_encoder(folder), device)
        side = flow_checkpoint(folder, "sparse_structure_flow_model").args["resolution"]
        self.resolution: int = side * 2 ** (len(self.network.config.channels) - 1)

    @torch.inference_mode()
    def __call__(self, occupied: np.ndarray) -> Tensor:
        volume = torch.from_numpy(occupied).float()[None, None].to(self._device)
        return self.network(volume)[0][0].float().cpu()


class LatentEncoder:
    """Callable: voxels (L, 3) and features (L, C_in) -> normalised latent (L, C) f32 on the processor.

    MissingModel unless the folder's encoder reads `channels` features.
    """

    def __init__(self, folder: ModelFolder, device: torch.device, channels: int) -> None:
        self._device = device
        self.mean, self.std = (torch.tensor(values) for values in folder.slat_normalization)
        self.network = _read(latent_encoder(folder), device)
        self.resolution = int(self.network.config.resolution)
        if self.network.config.in_channels != channels:
            raise MissingModel(
                f"The latent encoder of {folder.name} reads {self.network.config.in_channels} features a"
                f" voxel, but objects give {channels}; get the encoder that belongs to this model."
            )

    @torch.inference_mode()
    def __call__(self, coords: np.ndarray, features: Tensor) -> Tensor:
        places = torch.from_numpy(coords.astype(np.int32)).to(self._device)
        raw = self.network(features.float().to(self._device), self.network.structure(places))[0]
        return (raw.float().cpu() - self.mean) / self.std


class SceneEncoder:
    """Both encoders of a view-aligned model such as the starter."""

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self.structure_encoder = StructureEncoder(folder, device)
        self.latent_encoder = LatentEncoder(folder, device, FEATURES)
        self.resolution = self.latent_encoder.resolution

    def structure(self, scene: Scene) -> dict[str, Tensor]:
        """latents (C, r, r, r) f32 · packed, packed_solid (R³ / 8,) u8, bits of surface and solid."""
        volume = occupancy(scene, self.structure_encoder.resolution)
        packed, packed_solid = (torch.from_numpy(np.packbits(one)) for one in (volume, solid(volume)))
        return {"latents": self.structure_encoder(volume), "packed": packed, "packed_solid": packed_solid}

    def latent(self, scene: Scene, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """coords (L, 3) i32, grown as generated ones are, and their latent (L, C) f32, normalised."""
        occupied = pooled_occupancy(occupancy(scene, self.structure_encoder.resolution), self.resolution)
        coords = np.argwhere(grown(occupied, rng)).astype(np.int32)
        features = torch.from_numpy(voxel_features(scene, coords, self.resolution))
        return torch.from_numpy(coords), self.latent_encoder(coords, features)


def _read(checkpoint: Checkpoint, device: torch.device) -> nn.Module:
    return read_model(checkpoint.path, torch.float32, device).requires_grad_(False)


def _encoder(
    folder: ModelFolder, name: str, decoder: str, wanted: dict[str, Any], published: str
) -> Checkpoint:
    """The checkpoint of class `name` beside the decoder or in the folder, its args as wanted."""
    homes = [folder.models[decoder].parent] if decoder in folder.models else []
    homes.append(folder.path / "ckpts")
    homes += [home / Path(PUBLISHED_IN).name / "ckpts" for home in (folder.path.parent, models_folder())]
    for path in (path for home in homes for path in sorted(home.glob("*.json"))):
        settings = _settings(path)
        if settings is None or settings["name"].removeprefix("Elastic") != name:
            continue
        found = Checkpoint(path.with_suffix(""), settings["args"])
        if found.weights.is_file() and all(found.args.get(key) == value for key, value in wanted.items()):
            return found
    raise MissingModel(
        f"The model {folder.name} has no {name}, which training needs: download ckpts/{published}.json "
        f"and ckpts/{published}.safetensors of {PUBLISHED_IN} into {homes[0]}."
    )


def _settings(path: Path) -> dict[str, Any] | None:
    """A checkpoint's JSON file; None where there is none, or where it describes no network."""
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"The model file {path} cannot be read ({error}): download it again.") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("args"), dict):
        return None
    return settings if isinstance(settings.get("name"), str) else None
