"""SHA256SUMS of a model's folder, as `sha256sum` writes it: read, verified, made where there is none."""

import hashlib
import re
from pathlib import Path, PurePosixPath

from backend.errors import MissingModel, UserError
from backend.files import check_ordinary
from backend.tensor_files import MAX_BYTES

SUMS = "SHA256SUMS"


def folder_hash(folder: Path) -> str:
    """sha256 over the sorted paths and sha256 sums of the folder's files: names exactly these weights."""
    sums = _read_sums(folder) if (folder / SUMS).is_file() else _make_sums(folder)
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
    check_ordinary(path, MAX_BYTES)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
