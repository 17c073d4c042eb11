"""Sentences that describe objects: from a captions.csv beside the meshes, or else from the objects' names."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from backend.errors import UserError
from backend.geometry.mesh_files import Entry

CAPTIONS = "captions.csv"


def read_captions(folder: Path) -> dict[str, tuple[str, ...]]:
    """captions.csv (columns file and caption, any number of rows an object) -> sentences by file stem.

    Empty where the folder has no such file; UserError where it lacks a column.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        return {}
    captions: dict[str, tuple[str, ...]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = {"file", "caption"} - set(rows.fieldnames or ())
        if missing:
            raise UserError(
                f"{path} lacks the column {', '.join(sorted(missing))}; add it to the first line."
            )
        for row in rows:
            if row["file"] and row["caption"] and row["caption"].strip():
                stem = Path(row["file"]).stem
                captions[stem] = (*captions.get(stem, ()), row["caption"].strip())
    return captions


def captions_of(entry: Entry, captions: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The object's sentences; where there are none, the words of its file's name."""
    stem = entry.path.stem
    return captions.get(stem) or (words_of(stem),)


def words_of(name: str) -> str:
    """ "oldChair_02-red" -> "old chair red"; the name itself where it holds no words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W\d_]+", spaced)
    return " ".join(words).lower() or name
