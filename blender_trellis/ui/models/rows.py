"""The list of models as it is drawn: what the catalogue has, and what else was found on this machine."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path

from ...backend_settings import backend_settings
from ...catalogue.entries import Entry, entries, find_entry
from ...catalogue.hub_caches import hub_caches
from ...catalogue.installed import Presence, lacking, presence
from ...jobs import session
from ...protocol import ModelInfo

SECONDS = 2.0  # how long what was seen on the disk is believed
WORDS = {
    "pictures": "pictures",
    "text": "a sentence",
    "mesh": "mesh",
    "gaussian": "Gaussians",
    "radiance_field": "radiance field",
}


@dataclass(frozen=True)
class Row:
    """One model, part or remover. fetched_bytes: with what it needs and is not here; entry None: a folder."""

    name: str
    label: str
    kind: str
    origin: str
    licence: str = ""
    about: str = ""
    takes: str = ""
    gives: str = ""
    size_bytes: int = 0
    fetched_bytes: int = 0
    found: Presence = Presence("folder")
    entry: Entry | None = None

    @property
    def size(self) -> str:
        """As people read it."""
        if not self.size_bytes:
            return ""
        large = self.size_bytes >= 1e9
        return f"{self.size_bytes / 1e9:.1f} GB" if large else f"{self.size_bytes / 1e6:.0f} MB"


def rows() -> tuple[Row, ...]:
    """All of them: models first, then removers, then parts."""
    models = backend_settings().models
    assert models is not None, "the settings always name a folder"
    return _rows(models, session.known_models(), int(time.monotonic() / SECONDS))


@functools.lru_cache(maxsize=2)
def _rows(models: Path, known: tuple[ModelInfo, ...], moment: int) -> tuple[Row, ...]:
    caches = hub_caches()
    found = [_row(entry, models, caches) for entry in entries()]
    others = [_local(info, models) for info in known if find_entry(info.name, entries()) is None]
    order = ("model", "remover", "part")
    return tuple(sorted((*found, *others), key=lambda row: order.index(row.kind)))


def _row(entry: Entry, models: Path, caches: tuple[Path, ...]) -> Row:
    fetched = () if entry.origin == "bundled" else lacking(entry, entries(), models, caches)
    return Row(
        entry.name,
        entry.label,
        entry.kind,
        {"bundled": "Bundled", "published": "Published"}[entry.origin],
        entry.licence,
        entry.about,
        _words(entry.takes),
        _words(entry.gives),
        entry.size_bytes,
        sum(one.size_bytes for one in fetched),
        presence(entry, models, caches),
        entry,
    )


def _local(info: ModelInfo, models: Path) -> Row:
    place = models / info.name
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) if place.is_dir() else 0
    takes = _words(info.takes, "several pictures" if info.several_pictures else "")
    where = Presence("folder" if place.is_dir() else "cache", place)
    return Row(
        info.name, info.name, "model", "Local", "", "", takes, _words(info.gives), size, size, where, None
    )


def _words(values: tuple[str, ...], besides: str = "") -> str:
    return ", ".join((*(WORDS.get(one, one) for one in values), *filter(None, [besides])))
