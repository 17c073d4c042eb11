"""What a training was begun with; a call that goes on with it must ask for the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from backend.config import parse_config, read_json
from backend.errors import UserError
from backend.files import atomic_path

_ANY = {"range": (0, 2**63)}


@dataclass(frozen=True)
class Settings:
    """data is a folder · device cpu or cuda, for batches differ · minutes for everything."""

    data: str
    seed: int = field(metadata=_ANY)
    device: str
    minutes: float = field(metadata=_ANY)


def kept_settings(path: Path, asked: Settings, asked_minutes: float | None, writes: bool) -> Settings:
    """The settings a state folder was begun with, or the asked ones if it is new.

    Raises UserError where they differ; minutes that are not asked for are the kept ones.
    """
    if not path.is_file():
        if writes:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(asdict(asked), indent=1) + "\n", encoding="utf-8")
        return asked
    kept = parse_config(Settings, read_json(path), str(path), "remove it, or choose another --state.")
    if asked_minutes is None:
        asked = replace(asked, minutes=kept.minutes)
    # Where the data lies may change; which data it is shows in its prepared form.
    if replace(asked, data=kept.data) != kept:
        begun = f"--minutes {kept.minutes:g} --seed {kept.seed} --device {kept.device}"
        raise UserError(
            f"{path.parent} holds a training that was begun with {begun}; go on with these, remove that "
            "folder, or choose another --state."
        )
    return kept
