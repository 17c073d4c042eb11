"""What a batch makes: files and folders become objects whose files have distinct names."""

import os
import stat
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..faults import Fault
from ..protocol.pictures import PICTURE_SUFFIXES


@dataclass(frozen=True)
class Item:
    """One object to make: the name of its files, without suffix, its pictures (none for a sentence), and its
    seed where that is not the batch's."""

    name: str
    pictures: tuple[Path, ...] = ()
    seed: int | None = None

    @property
    def picture(self) -> str:
        """The path of the first picture, "" where there is none."""
        return str(self.pictures[0]) if self.pictures else ""


@dataclass(frozen=True)
class Skipped:
    """A file or folder, inside a folder that was given, from which nothing is made."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is made, and what is not and why."""

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...] = ()


class NoPictures(Fault):
    """A folder that was given holds no picture or cannot be listed."""


def plan_batch(inputs: Sequence[Path], views: bool = False, made: Collection[Path] = ()) -> Plan:
    """One object for each picture, or a single one with `views`; NoPictures for a folder without any.

    Of a folder all pictures are taken but for hidden ones and those that an earlier run has `made`. A file is
    taken whatever its name is: one that is missing or no picture fails when its turn comes, so that the
    report tells of it.
    """
    pictures: list[Path] = []
    skipped: list[Skipped] = []
    for path in inputs:
        if os.path.isdir(path):  # which, unlike pathlib, has an answer for every name
            found = _list_folder(path, made)
            pictures += (entry for entry, reason in found.items() if not reason)
            skipped += (Skipped(entry, reason) for entry, reason in found.items() if reason)
        else:
            pictures.append(path)
    if views and pictures:
        first = inputs[0]
        name = first.resolve().name if os.path.isdir(first) else first.stem
        return Plan((Item(name, tuple(pictures)),), tuple(skipped))
    names = _distinct_names(pictures)
    items = (Item(name, (picture,)) for name, picture in zip(names, pictures, strict=True))
    return Plan(tuple(items), tuple(skipped))


def portable(name: str) -> str:
    """A name without what file systems and Blender refuse: bytes that are no text become "_"."""
    return "".join("_" if unicodedata.category(letter) == "Cs" else letter for letter in name)


def name_for(folder: Path, name: str) -> str:
    """`name`, or where the file system of `folder` takes only text and `name` is none, its portable form."""
    if portable(name) == name:
        return name
    probe = folder / f".{name}"
    try:
        with open(probe, "xb"):
            pass
        probe.unlink()
    except FileExistsError:
        return name
    except (OSError, UnicodeError):
        return portable(name)
    return name


def _list_folder(folder: Path, made: Collection[Path]) -> dict[Path, str]:
    """Everything in a folder in order, each with the reason why it is not taken or "" where it is."""
    try:
        place = folder.resolve()
        found = {
            path: "made by an earlier run" if place / path.name in made else _why_not(path)
            for path in sorted(folder.iterdir())
        }
    except OSError as error:
        raise NoPictures(
            f'The folder "{folder}" cannot be listed ({error.strerror}): choose another one.'
        ) from error
    if all(found.values()):
        raise NoPictures(
            f'There is no picture in the folder "{folder}": put {", ".join(PICTURE_SUFFIXES)} files there.'
        )
    return found


def _why_not(path: Path) -> str:
    if path.name.startswith("._"):
        return "AppleDouble file, which accompanies another file"
    if path.name.startswith(".") or _is_marked_hidden(path):
        return "hidden"
    if os.path.isdir(path):
        return "folder inside a folder; name it too for its pictures"
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        return f"not the suffix of a picture ({path.suffix})" if path.suffix else "no suffix"
    return "" if os.path.isfile(path) else "not an ordinary file"


def _is_marked_hidden(path: Path) -> bool:
    """As Windows does; elsewhere the name decides."""
    try:
        attributes = getattr(path.lstat(), "st_file_attributes", 0)
    except OSError:
        return False
    return bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)


def distinct_name(name: str, taken: set[str]) -> str:
    """`name`, with a number behind it where its key is taken; its key is taken from then on."""
    number, wanted = 1, name
    while name_key(wanted) in taken:
        number += 1
        wanted = f"{name}_{number}"
    taken.add(name_key(wanted))
    return wanted


def name_key(name: str) -> str:
    """Equal for names that any common file system takes for the same: without case and Unicode form."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", portable(name)).casefold())


def _distinct_names(pictures: Sequence[Path]) -> list[str]:
    """The stem of each; where it is taken, with the suffix (a.jpg beside a.png) or, last, with a number."""
    names: list[str] = []
    taken: set[str] = set()
    files: set[str] = set()
    for picture in pictures:
        longer = f"{picture.stem}_{picture.suffix[1:].lower()}"
        tells_apart = name_key(longer) not in taken and picture.name not in files
        is_longer = name_key(picture.stem) in taken and tells_apart
        names.append(distinct_name(longer if is_longer else picture.stem, taken))
        files.add(picture.name)
    return names
