"""SHA256SUMS of a model's folder, as `sha256sum` writes it: read, verified, made where there is none."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from backend.errors import MissingModel, UserError
from backend.files import LARGEST_CHECKPOINT, check_ordinary

SUMS = "SHA256SUMS"


def model_hash(folder: Path, checkpoints: Mapping[str, Path]) -> str:
    """sha256 over the sorted paths and sha256 sums of a model's files: names exactly these weights.

    checkpoints: all that pipeline.json names, by role, without suffix. Those that another folder lends stand
    there by their role, for it may lie anywhere. SHA256SUMS tells the folder's own where there is one.
    """
    files = {"pipeline.json": folder / "pipeline.json"}
    for role, path in checkpoints.items():
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else role
        files |= {name + suffix: path.with_name(path.name + suffix) for suffix in (".json", ".safetensors")}
    sums = _read_sums(folder) if (folder / SUMS).is_file() else {}
    made = {
        name for name, path in files.items() if path.is_file() and not (sums and path.is_relative_to(folder))
    }
    return _digest(sums | {name: _sha256(files[name]) for name in made})


def former_hash(folder: Path) -> str:
    """As it was counted before: of all that SHA256SUMS names, or else of all JSON files and weights."""
    return _digest(_read_sums(folder) if (folder / SUMS).is_file() else _make_sums(folder))


def _digest(sums: Mapping[str, str]) -> str:
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def verify(folder: Path) -> None:
    """MissingModel or UserError where a file of SHA256SUMS lacks or differs; nothing without SHA256SUMS."""
    if not (folder / SUMS).is_file():
        return
    for name, digest in _read_sums(folder).items():
        if not (folder / name).is_file():
            raise MissingModel(f"The model file {folder / name} is missing: download the model again.")
        if _sha256(folder / name) != digest:
            raise UserError(
                f"The model file {folder / name} is damaged (wrong sha256): remove it and download the model"
                " again."
            )


def _read_sums(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of each line of SHA256SUMS."""
    sums = {}
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(\S.*)", line)
        if match is None or ".." in PurePosixPath(match[2]).parts or match[2].startswith("/"):
            raise UserError(f"{folder / SUMS} has the broken line {line[:80]!r}: download the model again.")
        sums[match[2]] = match[1].lower()
    return sums


def _make_sums(folder: Path) -> dict[str, str]:
    files = [path for suffix in ("json", "safetensors") for path in folder.rglob(f"*.{suffix}")]
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files if path.is_file()}


def _sha256(path: Path) -> str:
    check_ordinary(path, LARGEST_CHECKPOINT)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
