"""Whether a folder is a model, or a part of one, as who loads it will judge: by headers, key for key."""

from dataclasses import dataclass
from pathlib import Path

from backend.checkpoints.checksums import verify as verify_sums
from backend.checkpoints.model_folder import read_folder
from backend.checkpoints.weights import check_header
from backend.config import read_json
from backend.errors import UserError
from backend.tensor_files import read_shapes

PARTS = {"dinov2_with_registers": "dinov2-with-registers-large", "clip": "clip-vit-large-patch14"}
"""The entry of the catalogue by the model_type of a config.json, for the sizes that the models use."""
_WIDTHS = {"dinov2-with-registers-large": 1024, "clip-vit-large-patch14": 768}


@dataclass(frozen=True)
class Found:
    """What a folder holds. part: the catalogue's name of an encoder, "" for a model."""

    path: Path
    part: str = ""


def recognize(folder: Path) -> Found | None:
    """What the folder is by its names and config.json; None where it is neither model nor encoder."""
    if (folder / "pipeline.json").is_file():
        return Found(folder)
    if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
        config = read_json(folder / "config.json", "configuration")
        part = PARTS.get(str(config.get("model_type")), "")
        text = config.get("text_config") if part.startswith("clip") else config
        if part and isinstance(text, dict) and text.get("hidden_size") == _WIDTHS[part]:
            return Found(folder, part)
    return None


def check(found: Found) -> int:
    """How many files of weights were looked at; UserError where one is missing, damaged or another one's.

    Sums are verified where the folder has them. Decoders that a text model borrows are not the folder's own.
    """
    verify_sums(found.path)
    if found.part:
        read_shapes(found.path / "model.safetensors")
        return 1
    model = read_folder(found.path)
    own = {path for path in model.models.values() if path.is_relative_to(model.path)}
    own |= {path.with_suffix("") for path in (model.path / "ckpts").glob("*.safetensors")}
    if not own:
        raise UserError(f"The model {found.path} has no weights: copy its ckpts folder too.")
    for path in sorted(own):
        check_header(path)
    return len(own)
