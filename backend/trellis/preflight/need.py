"""How much memory each stage of a request needs, by headers and configurations: no weights are read."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from backend.checkpoints.model_folder import ModelFolder
from backend.config import read_json
from backend.models.clip_text import PUBLISHED as CLIP
from backend.models.dinov2 import PUBLISHED as DINOV2
from backend.models.local_weights import hub_folders
from backend.trellis.residency import (
    CONDITIONER,
    STAGES,
    flow_working_bytes,
    mesh_working_bytes,
    stages_for,
)

FEWEST_VOXELS = 4_000
"""Of the published models' objects, which have 20,000 on average (arXiv 2412.01506, section 3.1)."""
_TOKENS = 1374
"""Of a condition: DINOv2's at 518 x 518, the longest."""
_CUBE_CHANNELS = 101
_HALF = ("F16", "BF16")


def stage_weights(
    folder: ModelFolder, formats: Iterable[str], dtype: torch.dtype, search: tuple[Path, ...]
) -> dict[str, int]:
    """Bytes of the weights of each stage when its torso is in `dtype`; 0 where the file is not there."""
    weights = {}
    for stage in stages_for(formats):
        role = STAGES[stage]
        if role == CONDITIONER:
            weights[stage] = _conditioner_bytes(folder, search)
        elif role in folder.models:
            path = folder.models[role]
            weights[stage] = _loaded_bytes(path.with_name(path.name + ".safetensors"), dtype)
    return weights


def stage_working(
    folder: ModelFolder, formats: Iterable[str], voxels: int, dtype: torch.dtype
) -> dict[str, int]:
    """Bytes that each stage allocates beside its weights, on an object of so many voxels."""
    working = {}
    for stage in stages_for(formats):
        settings = _settings(folder, STAGES[stage])
        channels = settings.get("model_channels")
        if not isinstance(channels, int):
            continue
        if stage == "sparse_structure":
            tokens = (settings.get("resolution", 16) // settings.get("patch_size", 1)) ** 3
            working[stage] = _flow(settings, tokens, dtype)
        elif stage == "structured_latent":
            working[stage] = _flow(settings, voxels, dtype)
        elif stage == "decode_mesh":
            working[stage] = mesh_working_bytes(voxels, channels, _CUBE_CHANNELS, dtype.itemsize)
    return working


def _flow(settings: dict[str, Any], tokens: int, dtype: torch.dtype) -> int:
    """A block on so many tokens, and all blocks' keys and values of the condition and of its absence."""
    channels = settings["model_channels"]
    contexts = 2 * settings.get("num_blocks", 0) * _TOKENS * 2 * channels * dtype.itemsize
    return flow_working_bytes(tokens, channels, dtype.itemsize) + contexts


def _settings(folder: ModelFolder, role: str) -> dict[str, Any]:
    path = folder.models.get(role)
    if path is None or not path.with_name(path.name + ".json").is_file():
        return {}
    return read_json(path.with_name(path.name + ".json"), "model file").get("args", {})


def _conditioner_bytes(folder: ModelFolder, search: tuple[Path, ...]) -> int:
    """The encoder runs in fp32; of CLIP only the text tower is kept."""
    name = folder.text_cond_model or folder.image_cond_model or ""
    kind = "text_cond_model" if folder.text_cond_model else "image_cond_model"
    repository = DINOV2[name][1] if name in DINOV2 else name
    own = [folder.path / f"{stem}.safetensors" for stem in (name, kind)]
    published = hub_folders(repository, (folder.path, *search)) if "/" in repository else ()
    homes = (folder.path / kind, *published)
    found = (path for path in (*own, *(home / "model.safetensors" for home in homes)) if path.is_file())
    path = next(found, None)
    return 0 if path is None else _loaded_bytes(path, torch.float32, "text_model." if name == CLIP else "")


@lru_cache(maxsize=64)
def _loaded_bytes(path: Path, dtype: torch.dtype, prefix: str = "") -> int:
    """Of a file's tensors once they are loaded: of a file in half precision what is half is the torso, of
    another one every matrix."""
    try:
        with safe_open(path, "pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys() if key.startswith(prefix)}
            sizes = {key: torch.Size(one.get_shape()) for key, one in slices.items()}
            halves = {key for key, one in slices.items() if one.get_dtype() in _HALF}
    except (OSError, SafetensorError):  # whoever loads it says what is wrong
        return 0
    torso = halves or {key for key, size in sizes.items() if len(size) > 1}
    return sum(size.numel() * (dtype.itemsize if key in torso else 4) for key, size in sizes.items())
