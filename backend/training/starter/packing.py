"""A model folder in few files of bounded size, and back: for machines from which little can be carried away.

`model.json` holds the texts, and for every larger file the pieces that it lies in and its check sum; the
pieces are bytes in `model-N.safetensors`. What comes out is the folder byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from backend.errors import UserError
from backend.files import atomic_path, make_writable_folder

PIECE = 15_900_000  # bytes of a packed file at most, its header included
TABLE = "model.json"
_HEADER = 20_000  # bytes kept for the header of a piece
_TEXTS = {".json", ".md", ""}


def pack(folder: Path, out: Path, piece: int = PIECE) -> list[Path]:
    """Writes the packed files of a model folder and removes older ones that are not part of it."""
    texts: dict[str, str] = {}
    files: dict[str, dict] = {}
    shards: list[dict[str, np.ndarray]] = [{}]
    room = piece - _HEADER
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        data = path.read_bytes()
        if path.suffix in _TEXTS:
            texts[name] = data.decode("utf-8")
            continue
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "pieces": []}
        start = 0
        while start < len(data):
            if room == 0:
                shards.append({})
                room = piece - _HEADER
            part = np.frombuffer(data[start : start + room], np.uint8)
            key = f"{name}@{start}"
            shards[-1][key] = part
            files[name]["pieces"].append([len(shards), key])
            start, room = start + len(part), room - len(part)
    make_writable_folder(out)
    paths = [out / f"model-{number}.safetensors" for number in range(1, len(shards) + 1)]
    for path, shard in zip(paths, shards, strict=True):
        with atomic_path(path) as temporary:
            save_file(shard, temporary)
    with atomic_path(out / TABLE) as temporary:
        temporary.write_text(json.dumps({"texts": texts, "files": files}, indent=1), encoding="utf-8")
    for old in set(out.glob("model-*.safetensors")) - set(paths):
        old.unlink()
    return [out / TABLE, *paths]


def unpack(packed: Path, folder: Path) -> Path:
    """Writes the model folder that was packed; UserError where a file is missing or is not what it was."""
    table = packed / TABLE
    if not table.is_file():
        raise UserError(f"{packed} holds no {TABLE}; give the folder that a training wrote its files to.")
    content = json.loads(table.read_text(encoding="utf-8"))
    for name, text in content["texts"].items():
        _write(folder, name, text.encode("utf-8"))
    for name, entry in content["files"].items():
        data = b"".join(_piece(packed, number, key) for number, key in entry["pieces"])
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise UserError(f"The packed file {name} in {packed} is damaged; copy all its files again.")
        _write(folder, name, data)
    return folder


def _piece(packed: Path, number: int, key: str) -> bytes:
    path = packed / f"model-{number}.safetensors"
    if not path.is_file():
        raise UserError(f"{path} is missing; copy all files of {packed} again.")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(key).tobytes()
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); copy it again.") from error


def _write(folder: Path, name: str, data: bytes) -> None:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(f"{TABLE} names a file outside the model's folder ({name}); it is not to be trusted.")
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
