"""What stands in the way of a job before a backend starts: a model or a part that is not here, a full disk.

Nothing is refused that may run: of models that the catalogue does not have, of what lies in a download
cache, and of those of another machine, the backend judges.
"""

import functools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..backend_settings import backend_settings
from ..catalogue.entries import entries, find_entry
from ..catalogue.hub_caches import hub_caches
from ..catalogue.installed import lacking, presence
from ..extension_paths import user_folder

SECONDS = 2.0  # how long what was seen on the disk is believed
LEAST_BYTES = 200 << 20
"""Room that a job's log, its record and the latents of its result must find."""


@dataclass(frozen=True)
class Hindrance:
    """One sentence, and what mends it: downloading `model`, or making room."""

    sentence: str
    remedy: Literal["download", "make_room"]
    model: str = ""


def hindrance(model: str) -> Hindrance | None:
    """Why a job of this model would fail at once; None where nothing is known that stands in its way."""
    chosen, moment = backend_settings(), int(time.monotonic() / SECONDS)
    assert chosen.models is not None, "the settings always name a folder"
    of_model = None if chosen.command else _of_model(model, chosen.models, moment)
    return of_model or _of_disk(user_folder(), moment)


@functools.lru_cache(maxsize=8)
def _of_model(model: str, models: Path, moment: int) -> Hindrance | None:
    entry = find_entry(model, entries())
    if entry is None or entry.origin == "bundled":
        return None
    caches = hub_caches()
    missing = lacking(entry, entries(), models, caches)
    if not missing:
        return None
    size = sum(one.size_bytes for one in missing) / 1e9
    found = presence(entry, models, caches)
    if missing[-1] is not entry:
        parts = " and ".join(one.label for one in missing)
        sentence = f"{entry.label} needs {parts}, which must be downloaded ({size:.1f} GB)"
    elif found.where == "incomplete":
        sentence = f"{entry.label} is not complete: {found.missing[0]} is missing or cut off"
    else:
        sentence = f"{entry.label} is not on this machine and must be downloaded ({size:.1f} GB)"
    return Hindrance(sentence, "download", entry.name)


@functools.lru_cache(maxsize=2)
def _of_disk(folder: Path, moment: int) -> Hindrance | None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return full_disk(existing, shutil.disk_usage(existing).free)


def full_disk(folder: Path, free_bytes: int) -> Hindrance | None:
    """What is said of a disk with so much room."""
    if free_bytes >= LEAST_BYTES:
        return None
    sentence = f"The disk of {folder} has {free_bytes / 1e6:.0f} MB left: free some space"
    return Hindrance(sentence, "make_room")
