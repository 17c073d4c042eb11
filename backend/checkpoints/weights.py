"""Published checkpoints: NAME.json ({"name": class, "args": {…}}) beside NAME.safetensors <-> module.

Loading is strict: every key must be there with its shape and none besides. Weights of any floating type, or
packed in eight bits, become the asked precision. Files of other formats (.pt, .ckpt, .bin) are never opened.
"""

import json
from pathlib import Path
from typing import Any

import torch

from backend.checkpoints.eight_bits import packed, unpacked, unscaled
from backend.checkpoints.find_model import available_models, bundled_models, models_folder
from backend.checkpoints.model_folder import ModelFolder, open_folder
from backend.config import config_args, parse_config, read_json
from backend.errors import UserError
from backend.files import atomic_path
from backend.layers.engines import TORCH, Engine
from backend.lifting.aligned_flow import AlignedSLatFlowModel, AlignedStructureFlowModel
from backend.lifting.image_encoder import LiftingImageEncoder
from backend.lifting.text_encoder import LiftingTextEncoder
from backend.models.network import HALVED, Network
from backend.models.sparse_structure_flow import SparseStructureFlowModel
from backend.models.sparse_structure_vae import SparseStructureDecoder, SparseStructureEncoder
from backend.models.structured_latent_flow import SLatFlowModel
from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.models.structured_latent_vae import SLatEncoder, SLatGaussianDecoder, SLatRadianceFieldDecoder
from backend.models.weightless import without_weights
from backend.tensor_files import Shapes, read_shapes, read_tensors, write_tensors, zero_starts

__all__ = [
    "MODEL_CLASSES",
    "ModelFolder",
    "available_models",
    "build_model",
    "bundled_models",
    "models_folder",
    "open_folder",
    "read_config",
    "read_model",
    "write_model",
]

_PUBLISHED = (
    SparseStructureEncoder,
    SparseStructureDecoder,
    SparseStructureFlowModel,
    SLatFlowModel,
    SLatEncoder,
    SLatGaussianDecoder,
    SLatRadianceFieldDecoder,
    SLatMeshDecoder,
)

Published = Network[Any] | LiftingImageEncoder | LiftingTextEncoder

_OWN = (AlignedSLatFlowModel, AlignedStructureFlowModel, LiftingImageEncoder, LiftingTextEncoder)

_PACKED = (LiftingImageEncoder,)  # written in eight bits, since it comes with every copy of the extension

MODEL_CLASSES: dict[str, type[Published]] = {
    **{model.__name__: model for model in (*_PUBLISHED, *_OWN)},
    # "Elastic" classes only schedule activation checkpointing in training; weights and maths are the same.
    **{f"Elastic{model.__name__}": model for model in _PUBLISHED},
}

SHOWN = 3
"""Keys named in an error; the rest are counted."""


def build_model(name: str, args: dict[str, Any]) -> Published:
    """A freshly initialised module of a published class; UserError on an unknown class or field."""
    return _class_of(name).from_args(args)


def read_config(path: Path) -> Any:
    """The configuration of the checkpoint `path`.json, without its weights; UserError as `read_model`."""
    described = path.with_name(path.name + ".json")
    name, args = _read_settings(described)
    try:
        return parse_config(_class_of(name).Config, args, name)
    except UserError as error:
        raise UserError(f"{described}: {error}") from error


def read_model(
    path: Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    engine: Engine = TORCH,
) -> Published:
    """The checkpoint `path`.json + `path`.safetensors in eval mode, its torso in `dtype`, run by `engine`.

    UserError on a missing, broken or foreign file; the sentence names the file, field or key.
    """
    path = Path(path)
    described = path.with_name(path.name + ".json")
    name, args = _read_settings(described)
    weights = path.with_name(path.name + ".safetensors")
    try:
        model = _empty_model(name, args, dtype, device, engine)
    except UserError as error:
        raise UserError(f"{described}: {error}") from error
    tensors = unpacked(read_tensors(weights, zero_starts(model)))
    expected = model.state_dict()
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    _compare(shapes, {key: tuple(value.shape) for key, value in expected.items()}, weights)
    state = {key: tensors[key].to(device, value.dtype) for key, value in expected.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _class_of(name: str) -> type[Published]:
    if name not in MODEL_CLASSES:
        known = ", ".join(sorted(MODEL_CLASSES))
        raise UserError(f"There is no model class {name}: the JSON file must name one of {known}.")
    return MODEL_CLASSES[name]


def _empty_model(
    name: str, args: dict[str, Any], dtype: torch.dtype, device: torch.device | str, engine: Engine
) -> Published:
    """The module without weights yet, as far as all its state is in the file."""
    if name == LiftingImageEncoder.__name__:  # it has buffers that no file holds
        return build_model(name, args).to(device)
    with without_weights():
        model = build_model(name, args)
    return model.to_precision(dtype).use_engine(engine) if isinstance(model, Network) else model


def check_header(path: Path) -> None:
    """UserError where `path`.safetensors has not the tensors that `path`.json calls for, by its header."""
    described = path.with_name(path.name + ".json")
    name, args = _read_settings(described)
    try:
        expected = _empty_model(name, args, torch.float32, "cpu", TORCH).state_dict()
    except UserError as error:
        raise UserError(f"{described}: {error}") from error
    weights = path.with_name(path.name + ".safetensors")
    _compare(
        unscaled(read_shapes(weights)), {key: tuple(value.shape) for key, value in expected.items()}, weights
    )


def write_model(module: Published, path: Path, half: bool) -> None:
    """Write `path`.json and `path`.safetensors; `half` stores the torso in fp16 as the published files do."""
    path = Path(path)
    args = config_args(module.config)
    if "use_fp16" in args:
        args["use_fp16"] = half
    halved = _halved_keys(module) if half else set()
    state = {
        key: value.detach().cpu().to(torch.float16 if key in halved else torch.float32)
        for key, value in module.state_dict().items()
    }
    if half and isinstance(module, _PACKED):
        state |= packed(module.state_dict())
    write_tensors(path.with_name(path.name + ".safetensors"), state)
    with atomic_path(path.with_name(path.name + ".json")) as temporary:
        temporary.write_text(json.dumps({"name": type(module).__name__, "args": args}, indent=4) + "\n")


def _halved_keys(module: Published) -> set[str]:
    """State-dict keys of the torso; all of them for a network that does not tell its torso."""
    if not isinstance(module, Network):
        return set(module.state_dict())
    keys: set[str] = set()
    for part in module.torso:
        for name, layer in getattr(module, part).named_modules(prefix=part):
            if isinstance(layer, HALVED):
                keys.update(f"{name}.{key}" for key, _ in layer.named_parameters(recurse=False))
    return keys


def _read_settings(path: Path) -> tuple[str, dict]:
    settings = read_json(path, "model file")
    if not isinstance(settings.get("name"), str):
        raise UserError(f"The model file {path} does not name its class: download it again.")
    return settings["name"], settings.get("args", {})


def _compare(found: Shapes, expected: Shapes, path: Path) -> None:
    """UserError if keys or shapes differ from what the class and its settings call for."""
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    wrong = [
        f"{key} is {found[key]} instead of {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    faults = [
        f"{len(keys)} {what} ({_first(keys)})"
        for keys, what in ((missing, "keys missing"), (extra, "keys too many"), (wrong, "wrong shapes"))
        if keys
    ]
    if faults:
        raise UserError(
            f"The weights {path} do not fit their JSON file: {'; '.join(faults)}. Download both again."
        )


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")
