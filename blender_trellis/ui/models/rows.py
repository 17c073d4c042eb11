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
    ("pictures",): "one picture",
    ("pictures", "several"): "one or several pictures",
    ("text",): "a sentence",
    ("mesh", "gaussian"): "mesh, Gaussians",
    ("mesh", "gaussian", "radiance_field"): "mesh, Gaussians, radiance field",
}
"""What is taken and given, in whole expressions that can be translated."""


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


def size_in_words(size_bytes: int) -> str:
    """As people read it; empty where it is not known."""
    if not size_bytes:
        return ""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def rows() -> tuple[Row, ...]:
    """All of them: models first, then removers, then parts."""
    models = backend_settings().models
    assert models is not None, "the settings always name a folder"
    moment = int(time.monotonic() / SECONDS)
    unknown = (info for info in session.known_models() if find_entry(info.name, entries()) is None)
    others = (_local(info, models, moment) for info in unknown)
    order = ("model", "remover", "part")
    return tuple(sorted((*_listed(models, moment), *others), key=lambda row: order.index(row.kind)))


@functools.lru_cache(maxsize=2)
def _listed(models: Path, moment: int) -> tuple[Row, ...]:
    """Those of the catalogue."""
    caches = hub_caches()
    return tuple(_row(entry, models, caches) for entry in entries())


@functools.lru_cache(maxsize=32)
def _folder_bytes(place: Path, moment: int) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


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


def _local(info: ModelInfo, models: Path, moment: int) -> Row:
    place = models / info.name
    size = _folder_bytes(place, moment) if place.is_dir() else 0
    takes = _words((*info.takes, *(("several",) if info.several_pictures else ())))
    where = Presence("folder" if place.is_dir() else "cache", place)
    return Row(
        info.name, info.name, "model", "Local", "", "", takes, _words(info.gives), size, size, where, None
    )


def _words(values: tuple[str, ...]) -> str:
    return WORDS.get(values) or ", ".join(values).replace("_", " ")
