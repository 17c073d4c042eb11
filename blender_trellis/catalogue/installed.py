"""Whether a model lies on this machine, told by names and sizes of files; nothing is opened but its record.

A download leaves a record beside its files: the commit, and the size and sha256 of each. A folder that was
put there by hand has none, and counts where all files of the catalogue are there.
"""

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .entries import Entry, find_entry

log = logging.getLogger(__name__)

RECORD = ".trellis-download.json"
ARRIVING = ".arriving"
"""The folder beside the models in which downloads grow; nothing in it is ever taken for a model."""
HALF_COPIED = ".import"
"""The end of the names in it of what is being copied from a folder."""

Where = Literal["bundled", "folder", "cache", "arriving", "incomplete", "absent"]


@dataclass(frozen=True)
class Presence:
    """Where an entry is. missing: files of an incomplete one."""

    where: Where
    path: Path | None = None
    missing: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it may be loaded."""
        return self.where in ("bundled", "folder", "cache")


def presence(entry: Entry, models: Path, caches: Iterable[Path] = ()) -> Presence:
    """Where the entry is: in the models folder, in a cache of huggingface_hub, on its way, or nowhere."""
    if entry.origin == "bundled":
        return Presence("bundled")
    place = models / entry.place
    if os.path.exists(place):  # False also where that may not be looked at
        missing = tuple(missing_files(entry, place))
        return Presence("incomplete" if missing else "folder", place, missing)
    if entry.repository:
        name = "models--" + entry.repository.replace("/", "--")
        cached = next((cache / name for cache in caches if whole_snapshot(entry, cache / name)), None)
        if cached is not None:
            return Presence("cache", cached)
    if arriving_bytes(entry, models):
        return Presence("arriving", models / ARRIVING / entry.name)
    return Presence("absent")


def missing_files(entry: Entry, place: Path) -> list[str]:
    """The files of an entry in its place that are not there, or not of the size that the record tells."""
    if entry.url:
        return [] if place.stat().st_size == entry.size_bytes else [place.name]
    sizes = recorded_sizes(place)
    wanted = sizes if sizes is not None else {one.path: None for one in entry.files}
    return [name for name, size in wanted.items() if not _is_whole(place / name, size)]


def whole_snapshot(entry: Entry, repository: Path) -> Path | None:
    """The snapshot of a models--… folder that holds all files of an entry; None where there is none."""
    try:
        found = sorted((repository / "snapshots").iterdir())
    except OSError:
        return None
    held = (one for one in found if all(os.path.isfile(one / file.path) for file in entry.files))
    return next((one for one in held if os.path.isdir(one)), None)


def recorded_sizes(place: Path) -> dict[str, int] | None:
    """Size by file of a folder that was downloaded; None for any other, and where the record is damaged."""
    try:
        files = json.loads((place / RECORD).read_text(encoding="utf-8"))["files"]
        return {str(name): int(one["size_bytes"]) for name, one in files.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be used: %s", place / RECORD, error)
        return None


def arriving_bytes(entry: Entry, models: Path) -> int:
    """How much of an entry has arrived so far."""
    folder = models / ARRIVING / entry.name
    return (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if os.path.isdir(folder)
        else 0
    )


def lacking(
    entry: Entry, among: tuple[Entry, ...], models: Path, caches: Iterable[Path] = ()
) -> tuple[Entry, ...]:
    """What is not here of the entry and its needs, in the order to fetch it; the entry itself last."""
    caches = tuple(caches)
    wanted = [one for name in entry.needs if (one := find_entry(name, among)) is not None]
    absent = [one for one in wanted if not _serves(one, among, models, caches)]
    return (*absent, *(() if presence(entry, models, caches).usable else (entry,)))


def _serves(entry: Entry, among: tuple[Entry, ...], models: Path, caches: tuple[Path, ...]) -> bool:
    larger = find_entry(entry.within, among) if entry.within else None
    held = [one for one in (entry, larger) if one is not None]
    return any(presence(one, models, caches).usable for one in held)


def _is_whole(path: Path, size: int | None) -> bool:
    return path.is_file() and size in (None, path.stat().st_size)
