"""Weights of encoders that others publish (DINOv2, CLIP), found on this machine; nothing is fetched."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from backend.errors import UserError


def hub_folders(repository: str, search: tuple[Path, ...]) -> Iterator[Path]:
    """Places where a Hugging Face repository `owner/name` may lie below the folders of `search`."""
    owner, _, name = repository.rpartition("/")
    for folder in search:
        yield folder / repository
        yield folder / name
        # The layout of the download cache of huggingface_hub.
        yield from sorted((folder / f"models--{owner}--{name}" / "snapshots").glob("*"))


def read_json(path: Path) -> dict:
    """Raises UserError where the file is missing or holds no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"The file '{path}' cannot be read ({error.strerror}); download it again.") from error
    except ValueError as error:
        raise UserError(f"The file '{path}' is damaged (not JSON); download it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"The file '{path}' is damaged (not a JSON object); download it again.")
    return content


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of one safetensors file, in fp32 where they are floating point. Raises UserError."""
    try:
        tensors = load_file(path)
    except OSError as error:
        raise UserError(f"The file '{path}' cannot be read ({error.strerror}); download it again.") from error
    except SafetensorError as error:
        raise UserError(f"The file '{path}' is damaged ({error}); download it again.") from error
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
