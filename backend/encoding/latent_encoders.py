"""The encoders of a model folder: meshes become the latents that its flows learn to make.

The published repositories carry them beside the decoders, though pipeline.json does not name them.
L voxels · C channels · r, R resolutions of the structure's latent and of the structure.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.checkpoints.find_model import models_folder
from backend.checkpoints.model_folder import ModelFolder
from backend.checkpoints.weights import read_model
from backend.errors import MissingModel, UserError
from backend.lifting.surface import FEATURES

STRUCTURE_ENCODER = "ss_enc_conv3d_16l8_fp16"
LATENT_ENCODER = "slat_enc_swin8_B_64l8_fp16"
PUBLISHED_IN = "microsoft/TRELLIS-image-large"


def structure_encoder(folder: ModelFolder) -> Path:
    """The checkpoint, without suffix, of the encoder of the sparse structure that fits the folder's flow."""
    flow = _flow_args(folder, "sparse_structure_flow_model")
    wanted = {"latent_channels": flow.get("in_channels")}
    return _encoder(folder, "SparseStructureEncoder", "sparse_structure_decoder", wanted, STRUCTURE_ENCODER)


def latent_encoder(folder: ModelFolder) -> Path:
    """The checkpoint, without suffix, of the encoder of the structured latent that fits the folder's flow."""
    flow = _flow_args(folder, "slat_flow_model")
    wanted = {"latent_channels": flow.get("in_channels"), "resolution": flow.get("resolution")}
    return _encoder(folder, "SLatEncoder", "slat_decoder_mesh", wanted, LATENT_ENCODER)


def is_view_aligned(folder: ModelFolder) -> bool:
    """Whether objects stand as the picture shows them, as in the starter, or in a frame of their own."""
    if folder.image_cond_model:
        return "/" in folder.image_cond_model
    try:
        settings = _settings(latent_encoder(folder))
    except MissingModel:
        return False  # as of published text models; those that stand so carry theirs
    return settings is not None and settings["args"].get("in_channels") == FEATURES


class StructureEncoder:
    """Callable: occupancy (R, R, R) bool -> latent (C, r, r, r) f32, the posterior's mean."""

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self._device = device
        self.network = _read(structure_encoder(folder), device)
        side = _flow_args(folder, "sparse_structure_flow_model")["resolution"]
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


def weights_of(checkpoint: Path) -> Path:
    """The file of a checkpoint's weights."""
    return checkpoint.with_name(f"{checkpoint.name}.safetensors")


def _read(checkpoint: Path, device: torch.device) -> nn.Module:
    return read_model(checkpoint, torch.float32, device).requires_grad_(False)


def _flow_args(folder: ModelFolder, role: str) -> dict[str, Any]:
    """The settings of the flow of that role; MissingModel where the folder has none."""
    settings = _settings(folder.models[role]) if role in folder.models else None
    if settings is None:
        raise MissingModel(
            f"The model {folder.name} has no {role} or lacks its JSON file; download its whole folder."
        )
    return settings["args"]


def _encoder(folder: ModelFolder, name: str, decoder: str, wanted: dict[str, Any], published: str) -> Path:
    """The checkpoint of class `name` beside the decoder or in the folder, its args as wanted."""
    homes = [folder.models[decoder].parent] if decoder in folder.models else []
    homes.append(folder.path / "ckpts")
    homes += [home / Path(PUBLISHED_IN).name / "ckpts" for home in (folder.path.parent, models_folder())]
    for path in (path.with_suffix("") for home in homes for path in sorted(home.glob("*.json"))):
        settings = _settings(path)
        if settings is None or settings["name"].removeprefix("Elastic") != name:
            continue
        fits = all(settings["args"].get(key) == value for key, value in wanted.items())
        if fits and weights_of(path).is_file():
            return path
    raise MissingModel(
        f"The model {folder.name} has no {name}, which encoding needs: download ckpts/{published}.json "
        f"and ckpts/{published}.safetensors of {PUBLISHED_IN} into {homes[0]}."
    )


def _settings(checkpoint: Path) -> dict[str, Any] | None:
    """A checkpoint's JSON file; None where there is none, or where it describes no network."""
    path = checkpoint.with_name(f"{checkpoint.name}.json")
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"The model file {path} cannot be read ({error}): download it again.") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("args"), dict):
        return None
    return settings if isinstance(settings.get("name"), str) else None
