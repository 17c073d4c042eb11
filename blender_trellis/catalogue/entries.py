"""catalogue.json as values. Revisions are commits of the hub.

A file's sha256 is "" where it is not known: then the one that the hub tells of that commit is taken, and kept
beside the model.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).parent / "catalogue.json"

Kind = Literal["model", "part", "remover"]
Origin = Literal["bundled", "published"]


@dataclass(frozen=True)
class File:
    """One file of a model; size_bytes is about right where the sha256 is not known."""

    path: str
    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Entry:
    """Something that can be downloaded, or comes with the extension.

    place: its folder in the models folder, or its file where there is no repository. needs: other entries
    that it does not run without. within: an entry that holds the same files, and serves as well.
    """

    name: str
    kind: Kind
    origin: Origin
    label: str
    licence: str
    about: str
    place: str = ""
    repository: str = ""
    revision: str = ""
    url: str = ""
    bundled_bytes: int = 0
    files: tuple[File, ...] = ()
    needs: tuple[str, ...] = ()
    within: str = ""
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of all its files, without what it needs besides."""
        return self.bundled_bytes or sum(one.size_bytes for one in self.files)


def entries() -> tuple[Entry, ...]:
    """All of them, as they are listed; those of another file where TRELLIS_CATALOGUE names one."""
    return read_entries(Path(os.environ.get("TRELLIS_CATALOGUE") or FILE))


@cache
def read_entries(path: Path) -> tuple[Entry, ...]:
    """The entries of a file like catalogue.json."""
    return tuple(_entry(row) for row in json.loads(path.read_text(encoding="utf-8")))


def find_entry(name: str, among: tuple[Entry, ...]) -> Entry | None:
    """The entry that is called so: "TRELLIS-image-large" or "microsoft/TRELLIS-image-large"."""
    return next((one for one in among if name and name in (one.name, one.repository)), None)


def _entry(row: dict[str, Any]) -> Entry:
    lists: dict[str, Any] = {name: tuple(row.get(name, ())) for name in ("needs", "takes", "gives")}
    files = tuple(File(**one) for one in row.get("files", ()))
    return Entry(**row | lists | {"files": files})
