"""A model folder with some weights replaced: the same files, names, keys and number formats as before."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor, nn

from backend.checkpoints.checksums import SUMS
from backend.checkpoints.eight_bits import packed
from backend.checkpoints.model_folder import ModelFolder
from backend.encoding.latent_encoders import weights_of
from backend.errors import UserError
from backend.files import atomic_path, make_writable_folder
from backend.geometry.mesh_files import Entry
from backend.tensor_files import write_tensors
from backend.training.export import attribution, write_sums

PAPERS = "ATTRIBUTION.md"


def export_changed(
    source: ModelFolder, changed: Mapping[Path, nn.Module], entries: tuple[Entry, ...], folder: Path
) -> Path:
    """Writes `folder`: the model with the weights of the modules in `changed` (by checkpoint).

    What stays as it is, is linked where the disk allows it and else copied; models borrowed from another
    repository come along. Returns the folder.
    """
    if folder.resolve() == source.path.resolve():
        raise UserError(f"{folder} is the model that is being trained; choose another folder to export to.")
    make_writable_folder(folder)
    weights = {weights_of(path): module for path, module in changed.items()}
    for path, name in _files(source):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in weights:
            _write_like(path, weights[path], target)
        elif path.suffix == ".safetensors":
            _link(path, target)
        elif path.name != SUMS:
            _copy(path, target)
    _credit(entries, source.path / PAPERS, folder / PAPERS)
    if (source.path / SUMS).is_file():
        write_sums(folder)
    return folder


def write_checkpoint_like(original: Path, module: nn.Module, target: Path) -> None:
    """Writes the checkpoint `target` (without suffix): the original's settings, the module's weights."""
    _copy(original.with_name(f"{original.name}.json"), target.with_name(f"{target.name}.json"))
    _write_like(weights_of(original), module, weights_of(target))


def _files(source: ModelFolder) -> Iterator[tuple[Path, Path]]:
    """Every file of the model with its place in the new folder; hidden files stay behind."""
    for path in sorted(source.path.rglob("*")):
        name = path.relative_to(source.path)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield path, name
    references = json.loads((source.path / "pipeline.json").read_text(encoding="utf-8"))["args"]["models"]
    for role, path in source.models.items():
        if not path.is_relative_to(source.path):
            for suffix in (".json", ".safetensors"):
                # Where a borrowed model is looked for first: below the folder, by its whole reference.
                yield path.with_name(path.name + suffix), Path(references[role] + suffix)


def _write_like(original: Path, module: nn.Module, target: Path) -> None:
    """The module's state with the keys and number formats of the original file."""
    with safe_open(original, framework="pt") as file:
        metadata = file.metadata()
        state = module.state_dict()
        if any(file.get_slice(key).get_dtype() == "I8" for key in file.keys()):
            state |= packed(state)
        tensors: dict[str, Tensor] = {
            key: state[key].detach().cpu().to(file.get_tensor(key).dtype) for key in file.keys()
        }
    write_tensors(target, tensors, metadata)


def _link(path: Path, target: Path) -> None:
    """One file under two names; weights are only ever replaced, so that neither changes under the other."""
    real = path.resolve()
    if target.exists() and target.samefile(real):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(real, target)
    except OSError:  # another disk, or one without links
        _copy(real, target)


def _copy(path: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)


def _credit(entries: tuple[Entry, ...], before: Path, target: Path) -> None:
    """Adds the credits that the objects ask for to those that the model has."""
    if not any(entry.attribution for entry in entries):
        return
    old = before.read_text(encoding="utf-8") if before.is_file() else "# Training data\n"
    lines = attribution(entries).replace("This model was trained on", "It was then trained further on")
    with atomic_path(target) as temporary:
        temporary.write_text(f"{old}\n{lines}", encoding="utf-8")
