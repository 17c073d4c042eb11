"""The encoders of a model folder: meshes become the latents that its flows learn to make.

The published repositories carry them beside the decoders, though pipeline.json does not name them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import MissingModel, UserError
from backend.model_folder import ModelFolder, models_folder
from backend.training.dataset import FEATURES

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
        return self.path.with_name(self.path.name + ".safetensors")


def flow_checkpoint(folder: ModelFolder, role: str) -> Checkpoint:
    """The flow of a role of pipeline.json; MissingModel where the folder has none."""
    if role not in folder.models:
        raise MissingModel(
            f"The model {folder.name} has no {role}, so there is nothing to teach; choose another."
        )
    path = folder.models[role]
    settings = _settings(path.with_name(path.name + ".json"))
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


def structure_resolution(folder: ModelFolder) -> int:
    """Voxels a side that the structure encoder reads."""
    flow = flow_checkpoint(folder, "sparse_structure_flow_model")
    return flow.args["resolution"] * 2 ** (len(structure_encoder(folder).args["channels"]) - 1)


def is_view_aligned(folder: ModelFolder) -> bool:
    """Whether objects stand as the picture shows them, as in the starter, or in a frame of their own."""
    if folder.image_cond_model:
        return "/" in folder.image_cond_model
    return latent_encoder(folder).args.get("in_channels") == FEATURES


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        if found.weights.is_file() and all(
            settings["args"].get(key) == value for key, value in wanted.items()
        ):
            return found
    raise MissingModel(
        f"The model {folder.name} has no {name}, which fine-tuning needs: download ckpts/{published}.json "
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
