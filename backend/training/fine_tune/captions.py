"""Sentences that describe objects: from a captions.csv beside the meshes, or else from the objects' names."""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from backend.errors import UserError
from backend.geometry.mesh_files import Entry

CAPTIONS = "captions.csv"


def read_captions(folder: Path, entries: Sequence[Entry]) -> dict[str, tuple[str, ...]]:
    """captions.csv (columns file, caption; any number of rows an object) -> sentences by the entries' names.

    A file is an entry's path below the folder or its name, or else the stem that no other has. Empty where
    the folder has no such file; UserError where it lacks a column, is no text or does not tell objects apart.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        return {}
    captions: dict[str, tuple[str, ...]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = {"file", "caption"} - set(rows.fieldnames or ())
            for row in rows if not missing else ():
                if row["file"] and row["caption"] and row["caption"].strip():
                    name = row["file"].replace("\\", "/")
                    captions[name] = (*captions.get(name, ()), row["caption"].strip())
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table in UTF-8 ({error}); save it as CSV in UTF-8.") from error
    if missing:
        raise UserError(f"{path} lacks the column {', '.join(sorted(missing))}; add it to the first line.")
    return _by_entry(captions, folder, entries)


def _by_entry(
    captions: Mapping[str, tuple[str, ...]], folder: Path, entries: Sequence[Entry]
) -> dict[str, tuple[str, ...]]:
    """Sentences by file -> by the name of the entry that is meant."""
    exact = {one.name: one.name for one in entries}
    exact |= {
        one.path.relative_to(folder).as_posix(): one.name for one in entries if folder in one.path.parents
    }
    found = {exact[file]: sentences for file, sentences in captions.items() if file in exact}
    files, names = defaultdict(list), defaultdict(list)
    for file in captions.keys() - exact.keys():
        files[PurePosixPath(file).stem].append(file)
    for one in entries:
        if one.name not in found:
            names[one.path.stem].append(one.name)
    for stem in files.keys() & names.keys():
        if len(files[stem]) > 1 or len(names[stem]) > 1:
            raise UserError(
                f"{folder / CAPTIONS} does not say which object {' and '.join(sorted(files[stem])[:2])} is"
                f" ({', '.join(names[stem][:3])}); write each file as it lies below the folder."
            )
        found[names[stem][0]] = captions[files[stem][0]]
    return found


def captions_of(entry: Entry, captions: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The object's sentences; where there are none, the words of its file's name."""
    return captions.get(entry.name) or (words_of(entry.path.stem),)


def words_of(name: str) -> str:
    """ "oldChair_02-red" -> "old chair red"; the name itself where it holds no words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W\d_]+", spaced)
    return " ".join(words).lower() or name
