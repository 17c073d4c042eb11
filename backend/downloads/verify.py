"""Whether every file of a model is the one that it should be: hashes first, then headers, key for key."""

import hashlib
from pathlib import Path

from backend.checkpoints.checksums import SUMS
from backend.checkpoints.find_model import WEIGHTS, find_model
from backend.downloads.check_folder import check, recognize
from backend.errors import UserError
from blender_trellis.catalogue.entries import Entry, find_entry
from blender_trellis.catalogue.hub_caches import hub_caches
from blender_trellis.catalogue.installed import presence, whole_snapshot

AGAIN = "press Download to get what is wrong again."


def verify(name: str, among: tuple[Entry, ...], models: Path) -> str:
    """One sentence that says that all is well; UserError that names what is not."""
    entry = find_entry(name, among)
    if entry is not None and entry.url:
        _compare(_place(entry, models), entry.files[0].sha256)
        return f"{entry.label} is whole: its hash is right."
    folder = find_model(name) if entry is None else _place(entry, models)
    known = {one.path: one.sha256 for one in entry.files if one.sha256} if entry is not None else {}
    for path, sha256 in known.items():
        _compare(folder / path, sha256)
    found = recognize(folder)
    count = check(found) if found is not None else len(known)
    proof = "hashes and headers" if known or (folder / SUMS).is_file() else "headers"
    return f"{entry.label if entry else name} is whole: {proof} of {count} files of weights are right."


def _place(entry: Entry, models: Path) -> Path:
    found = presence(entry, models, hub_caches())
    if found.where == "bundled":
        return WEIGHTS / entry.place
    if found.path is None or found.where == "arriving":
        raise UserError(f"{entry.label} is not here yet: download it first.")
    if found.missing:
        raise UserError(f"{entry.label} is not complete ({', '.join(found.missing[:3])}): {AGAIN}")
    cached = whole_snapshot(entry, found.path) if found.where == "cache" else None
    return cached or found.path


def _compare(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing: {AGAIN}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise UserError(f"{path} is damaged or another file (wrong sha256): remove it, then {AGAIN}")
