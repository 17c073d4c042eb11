"""Weights of encoders that others publish (DINOv2, CLIP), found on this machine; nothing is fetched."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from backend import tensor_files
from backend.errors import UserError
from backend.machine.hub_cache import (
    cache_of,
    cached_repositories,
    refuse_partial_repository,
    snapshots,
)
from blender_trellis.catalogue.hub_caches import hub_caches


def hub_folders(repository: str, search: tuple[Path, ...]) -> Iterator[Path]:
    """Places where a Hugging Face repository `owner/name` may lie: below `search`, or in a download cache."""
    _, _, name = repository.rpartition("/")
    for folder in search:
        yield folder / repository
        yield folder / name
    for cached in cached_repositories(_caches(search), repository):
        yield from snapshots(cached)


def refuse_partial_download(repository: str, search: tuple[Path, ...]) -> None:
    """UserError where nothing was found because a download has begun and not ended."""
    refuse_partial_repository(repository, _caches(search))


def _caches(search: tuple[Path, ...]) -> tuple[Path, ...]:
    return (*(cache for folder in search for cache in (*cache_of(folder), folder)), *hub_caches())


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of one safetensors file, in fp32 where they are floating point. Raises UserError."""
    tensors = tensor_files.read_tensors(path, ())
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def load_strictly(module: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Give `module` (it may be on the meta device) exactly these tensors; a difference raises UserError."""
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    faults = [f"{key} is missing" for key in sorted(expected.keys() - tensors.keys())]
    faults += [f"{key} is unknown" for key in sorted(tensors.keys() - expected.keys())]
    faults += [
        f"{key} has shape {tuple(tensors[key].shape)} instead of {shape}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(
            f"The weights '{path}' do not fit their configuration ({'; '.join(faults[:3])}{more});"
            " download both files again."
        )
    module.load_state_dict(tensors, strict=True, assign=True)
