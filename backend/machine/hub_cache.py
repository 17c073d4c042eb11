"""Repositories as `hf download` leaves them: models--OWNER--NAME/{refs/main, blobs/…, snapshots/REVISION/…}.

Files of a snapshot are mostly symbolic links into blobs/; one that still arrives ends in ".incomplete" there.
Folders that may not be read hold nothing for us. os.path says False of them, where pathlib raises.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from backend.errors import UserError

PREFIX = "models--"


def repository_name(folder: Path) -> str | None:
    """ "owner/name" of a models--owner--name folder or of one of its snapshots; None for any other folder."""
    for place in (folder, folder.parent.parent):
        if place.name.startswith(PREFIX):
            return place.name.removeprefix(PREFIX).replace("--", "/", 1)
    return None


def cache_of(folder: Path) -> tuple[Path, ...]:
    """The cache that a snapshot's folder lies in, where it is one."""
    return (folder.parents[2],) if len(folder.parents) > 2 and repository_name(folder.parent.parent) else ()


def cached_repositories(caches: Iterable[Path], name: str = "") -> Iterator[Path]:
    """The models--… folders of the caches; of the repository `name` ("owner/name" or "name") if one is given.

    Those of the same owner come first: a repository may have moved to another one.
    """
    owner, _, short = name.rpartition("/")
    found = [path for cache in dict.fromkeys(caches) for path in _folders(cache, f"{PREFIX}*")]
    if name:
        found = [path for path in found if (repository_name(path) or "").rpartition("/")[2] == short]
        found.sort(key=lambda path: repository_name(path) != f"{owner}/{short}")
    yield from found


def _folders(place: Path, pattern: str) -> list[Path]:
    return [path for path in _below(place, pattern) if os.path.isdir(path)]


def _below(place: Path, pattern: str) -> list[Path]:
    try:
        return sorted(place.glob(pattern))
    except OSError:
        return []


def snapshots(repository: Path) -> list[Path]:
    """The snapshots of a models--… folder: whole ones first, refs/main before others, then the newest."""
    try:
        main = (repository / "refs" / "main").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        main = ""
    found = _folders(repository / "snapshots", "*")
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return sorted(found, key=lambda path: (bool(dangling(path)), path.name != main))


def dangling(snapshot: Path) -> list[Path]:
    """Links of a snapshot whose files have not arrived, or were removed."""
    return [path for path in _below(snapshot, "**/*") if os.path.islink(path) and not os.path.exists(path)]


def refuse_partial(folder: Path) -> None:
    """UserError where `folder` is a snapshot of which files have not arrived; it names one."""
    name = repository_name(folder) if folder.parent.name == "snapshots" else None
    missing = dangling(folder) if name else []
    if missing:
        raise UserError(
            f"The download of {name} in {folder} is not complete ({missing[0].relative_to(folder)} has not "
            f"arrived): run `hf download {name}` again."
        )


def refuse_partial_repository(name: str, caches: Iterable[Path]) -> None:
    """UserError where a repository that could not be used has begun to arrive in one of the caches."""
    for repository in cached_repositories(caches, name):
        for snapshot in snapshots(repository):
            refuse_partial(snapshot)
        arriving = _below(repository / "blobs", "*.incomplete")
        if arriving:
            called = repository_name(repository)
            raise UserError(
                f"The download of {called} in {repository} is not complete ({arriving[0].name[:12]}… is "
                f"still arriving): wait for it, or run `hf download {called}` again."
            )
