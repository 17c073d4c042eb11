"""Models of the catalogue in the models folder: download, delete, and the record that a download leaves.

A model grows in a folder of its own below `.arriving` and gets its name when every file is there and right.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.checkpoints.checksums import SUMS
from backend.downloads.faults import explained
from backend.downloads.fetch import checked, fetch
from backend.downloads.remote import HUB, Remote, remote
from backend.errors import UserError
from backend.files import write_bytes
from blender_trellis.catalogue.entries import Entry
from blender_trellis.catalogue.installed import ARRIVING, RECORD, presence

MARGIN_BYTES = 256 << 20
"""Left free on the disk when a model has come."""


@dataclass(frozen=True)
class Amount:
    """How far a download is: of what, and bytes of bytes."""

    name: str
    file: str
    done: int
    total: int


OnAmount = Callable[[Amount], None]


def download(entry: Entry, models: Path, endpoint: str, on_amount: OnAmount) -> Path:
    """Fetch an entry into the models folder and return where it lies; an incomplete one is completed.

    UserError for want of network, room or permission, and where a file is not the known one.
    """
    place = models / entry.place
    if entry.origin == "bundled":
        raise UserError(f"{entry.name} comes with the extension and need not be downloaded.")
    if presence(entry, models).where == "folder":
        return place
    arriving = models / ARRIVING / entry.name
    source = entry.url.split("/")[2] if entry.url else (endpoint or HUB)
    with explained(entry.name, source, models):
        arriving.mkdir(parents=True, exist_ok=True)
        there = remote(entry, endpoint)
        _lend_whole_files(there, place, arriving)
        _check_space(entry, there, models, arriving)
        digests = _fetch_all(entry, there, arriving, on_amount)
        if not entry.url:
            _write_record(entry, there, arriving, digests)
        _put_in_place(arriving / entry.files[0].path if entry.url else arriving, place, models)
        shutil.rmtree(arriving, ignore_errors=True)
    return place


def delete(entry: Entry, models: Path) -> None:
    """Remove an entry's files, and what has arrived of it; of a linked folder only the link."""
    if entry.origin == "bundled":
        raise UserError(f"{entry.name} comes with the extension and cannot be deleted.")
    place = models / entry.place
    if not place.is_symlink() and not place.exists() and not (models / ARRIVING / entry.name).exists():
        raise UserError(f"{entry.name} is not in {models}, so there is nothing to delete.")
    try:
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place.exists():
            _take_away(place, models)
        shutil.rmtree(models / ARRIVING / entry.name, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{place} cannot be deleted ({error.strerror}): stop the backend and try again."
        ) from error


def _fetch_all(entry: Entry, there: Remote, arriving: Path, on_amount: OnAmount) -> dict[str, str]:
    """The sha256 of each file, all of them fetched."""
    digests, before = {}, 0
    for file in there.files:

        def on_bytes(have: int, before: int = before, path: str = file.path) -> None:
            on_amount(Amount(entry.name, path, before + have, there.size_bytes))

        digests[file.path] = fetch(file, arriving / file.path, there.headers, on_bytes)
        before += file.size_bytes
    return digests


def _lend_whole_files(there: Remote, place: Path, arriving: Path) -> None:
    """Of an incomplete model, what is right already need not come again."""
    for file in there.files if place.is_dir() else ():
        held, wanted = place / file.path, arriving / file.path
        if held.is_file() and not wanted.exists() and checked(file, held):
            wanted.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(held, wanted)
            except OSError:  # it lies on another disk, or on one that has no links
                shutil.copyfile(held, wanted)


def _check_space(entry: Entry, there: Remote, models: Path, arriving: Path) -> None:
    """Refuse at once what a full disk would refuse after an hour."""
    held = sum(path.stat().st_size for path in arriving.rglob("*") if path.is_file())
    needed = there.size_bytes - held + MARGIN_BYTES
    free = shutil.disk_usage(models).free
    if needed > MARGIN_BYTES and free < needed:
        raise UserError(
            f"{entry.name} needs {needed / 1e9:.1f} GB more on the disk of {models}, which has "
            f"{free / 1e9:.1f} GB: free some space, or choose another models folder in the preferences."
        )


def _write_record(entry: Entry, there: Remote, folder: Path, digests: dict[str, str]) -> None:
    sums = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    write_bytes(folder / SUMS, sums.encode())
    files = {one.path: {"size_bytes": one.size_bytes, "sha256": digests[one.path]} for one in there.files}
    record = {"name": entry.name, "repository": entry.repository, "revision": there.revision, "files": files}
    write_bytes(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def _put_in_place(arrived: Path, place: Path, models: Path) -> None:
    """Give what has arrived its name; an incomplete one that had it goes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        _take_away(place, models)
    os.replace(arrived, place)


def _take_away(place: Path, models: Path) -> None:
    """Under another name first, so that no half model is ever under its own."""
    doomed = models / ARRIVING / f"{place.name}.deleted"
    shutil.rmtree(doomed, ignore_errors=True)
    doomed.parent.mkdir(parents=True, exist_ok=True)
    os.replace(place, doomed)
    shutil.rmtree(doomed)
