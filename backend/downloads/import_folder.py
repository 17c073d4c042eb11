"""Taking in models from a folder, such as one that was copied from another machine: no network is asked.

Takes a model's folder, an encoder's, a snapshot of huggingface_hub's cache, a remover's file, or a folder
that holds several of these.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.background.removers import SESSIONS
from backend.downloads.check_folder import Found, check, recognize
from backend.downloads.install import MARGIN_BYTES, Amount, OnAmount
from backend.errors import UserError
from backend.machine.hub_cache import refuse_partial, repository_name, snapshots
from blender_trellis.catalogue.entries import Entry, find_entry
from blender_trellis.catalogue.installed import ARRIVING, HALF_COPIED

_CHUNK = 1 << 24


@dataclass(frozen=True)
class Source:
    """Something to import and the place below the models folder that it gets."""

    path: Path
    place: str
    found: Found | None = None  # None: a remover's file


def import_folder(
    folder: Path, models: Path, among: tuple[Entry, ...], link: bool, on_amount: OnAmount
) -> list[str]:
    """Copy or link what the folder holds into the models folder; what each is called there.

    UserError, before anything is copied, where there is nothing, where one is broken or already there.
    """
    folder = Path(os.path.abspath(folder))  # "." has no name for what is in it
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: choose the folder of a model.")
    sources = [one for place in _places(folder) for one in _sources(place, among)]
    if not sources:
        raise UserError(
            f"{folder} holds no model: choose a folder with a pipeline.json, the folder of an encoder, or "
            "one that holds such folders."
        )
    for source in sources:
        if (models / source.place).exists() or (models / source.place).is_symlink():
            raise UserError(f"{source.place} is already in {models}: delete it there first.")
        if source.found is not None:
            check(source.found)
    models.mkdir(parents=True, exist_ok=True)
    total = sum(_size(source.path) for source in sources)
    if not link and shutil.disk_usage(models).free < total + MARGIN_BYTES:
        raise UserError(
            f"The models need {total / 1e9:.1f} GB on the disk of {models}, which has too little free: free "
            "some space, or link the folder instead of copying it."
        )
    done = 0
    for source in sources:
        done = _take(source, models, link, done, total, on_amount)
    return [source.place for source in sources]


def _places(folder: Path) -> Iterator[Path]:
    """The folder itself, the newest snapshot of a repository in a cache, or the folders within."""
    if repository_name(folder / "snapshots" / "any"):
        yield from snapshots(folder)[:1]
    elif recognize(folder) is not None:
        yield folder
    else:
        yield folder
        for below in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from snapshots(below)[:1] if repository_name(below / "snapshots" / "any") else (below,)


def _sources(folder: Path, among: tuple[Entry, ...]) -> Iterator[Source]:
    found = recognize(folder)
    if found is not None:
        refuse_partial(folder)
        repository = repository_name(folder) if folder.parent.name == "snapshots" else None
        entry = find_entry(found.part or repository or folder.name, among)
        yield Source(folder, entry.place if entry else (repository or folder.name).rpartition("/")[2], found)
    else:
        yield from (Source(folder / name, name) for name in SESSIONS if (folder / name).is_file())


def _take(source: Source, models: Path, link: bool, done: int, total: int, on_amount: OnAmount) -> int:
    """Bring one to its place; how many bytes are done then."""
    place, arriving = models / source.place, models / ARRIVING / f"{Path(source.place).name}{HALF_COPIED}"
    on_amount(Amount(source.place, "", done, total))  # whoever ends this process knows what to take away
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if link:
            os.symlink(source.path, place, target_is_directory=source.path.is_dir())
            return done + _size(source.path)
        shutil.rmtree(arriving, ignore_errors=True)
        for path in _files(source.path):
            target = arriving / (path.relative_to(source.path) if source.path.is_dir() else path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as read, target.open("wb") as write:
                while chunk := read.read(_CHUNK):
                    write.write(chunk)
                    done += len(chunk)
                    on_amount(Amount(source.place, path.name, done, total))
        os.replace(arriving if source.path.is_dir() else arriving / source.path.name, place)
    except OSError as error:
        raise UserError(
            f"{source.place} cannot be brought to {models} ({error.strerror}): free some space, choose "
            "another models folder, or copy instead of linking."
        ) from error
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    return done


def _files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(one.stat().st_size for one in _files(path))
