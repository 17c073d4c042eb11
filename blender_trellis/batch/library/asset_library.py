"""Puts assets into a folder that several batches may fill at the same time."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import bpy

from ...faults import Fault
from ...file_lock import lock_file
from ...meshes.thumbnail import thumbnail
from ...scene.asset_marking import AssetMarks, mark_asset
from ...scene.export import atomic, prepare_folder
from ..plan import distinct_name, name_for, name_key, portable
from ..work import Work
from .catalogs import NAME as CATALOGS
from .catalogs import clean_path, with_catalog

INDEX = "trellis_assets.jsonl"
"""One line an asset: its file without suffix, the name it was asked for under, and its request's hash."""
LOCK = ".trellis_assets.lock"
TOP = "TRELLIS"


@dataclass(frozen=True)
class AssetLibrary:
    """The folder, and what is said of its assets; `catalog`: empty for one after the picture's folder."""

    folder: Path
    marks: AssetMarks = AssetMarks()
    catalog: str = ""

    def prepare(self) -> None:
        """Makes the folder. Fault where it cannot be written."""
        prepare_folder(self.folder)

    def add(self, collection: bpy.types.Collection, work: Work, request_hash: str) -> Path:
        """Marks the collection and saves the open scene as its asset's file. Raises Fault.

        An equal request gets the same file again, whichever run makes it; another of the same name gets a
        number behind its name.
        """
        with self._locked():
            catalog = self._catalog(self._path_of(work))
            target = self.folder / f"{self._claim(work.name, request_hash)}.blend"
        mark_asset(collection, replace(self.marks, catalog=catalog), thumbnail(collection))
        with atomic(target) as part:
            bpy.ops.wm.save_as_mainfile(filepath=str(part), copy=True, compress=True, check_existing=False)
        return target

    def holds(self, file: str) -> bool:
        """Whether an asset's file, as `add` gave it, lies in this folder."""
        return bool(file) and Path(file).parent == self.folder and Path(file).is_file()

    def _path_of(self, work: Work) -> str:
        if self.catalog:
            return clean_path(self.catalog.split("/")) or TOP
        folder = work.pictures[0].absolute().parent.name if work.pictures else ""
        return clean_path((TOP, folder.replace("/", "_")))

    def _catalog(self, path: str) -> str:
        """The UUID of the catalogue of this path, which the folder lists from now on."""
        file = self.folder / CATALOGS
        try:
            before = file.read_text(encoding="utf-8") if file.exists() else ""
        except (OSError, UnicodeError) as error:
            raise Fault(f'The catalogues in "{file}" cannot be read: mend or remove that file.') from error
        found, text = with_catalog(before, path)
        if text != before:
            with atomic(file) as part:
                part.write_text(text, encoding="utf-8", newline="\n")
        return found

    def _claim(self, name: str, request_hash: str) -> str:
        """The name of the file for this asset, without suffix; from now on it is nobody else's."""
        name = name_for(self.folder, name)
        entries = self._entries()
        for entry in entries:
            if (entry["name"], entry["request"]) == (portable(name), request_hash):
                return entry["file"]
        taken = {name_key(entry["file"]) for entry in entries}
        taken |= {name_key(path.stem) for path in self.folder.glob("*.blend")}
        file = distinct_name(name, taken)
        line = json.dumps({"file": file, "name": portable(name), "request": request_hash}) + "\n"
        try:
            with open(self.folder / INDEX, "a+b") as index:
                index.seek(max(index.seek(0, os.SEEK_END) - 1, 0))
                cut_off = index.read(1) not in (b"", b"\n")
                index.write((b"\n" if cut_off else b"") + line.encode("ascii"))
                index.flush()
                os.fsync(index.fileno())
        except OSError as error:
            raise self._fault(error) from error
        return file

    def _entries(self) -> list[dict[str, str]]:
        """What the index tells; lines that a kill has cut off tell nothing."""
        try:
            lines = (self.folder / INDEX).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._fault(error) from error
        return [entry for line in lines if (entry := _entry(line)) is not None]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else changes catalogues and index meanwhile; the system lets go when a process is killed."""
        try:
            with open(self.folder / LOCK, "a+b") as file:
                lock_file(file.fileno(), wait=True)
                yield
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> Fault:
        reason = error.strerror or error
        return Fault(
            f'The asset library "{self.folder}" cannot be written ({reason}): choose another folder.'
        )


def _entry(line: bytes) -> dict[str, str] | None:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(told, dict) and all(
        isinstance(told.get(key), str) for key in ("file", "name", "request")
    )
    return told if fits and name_key(told["file"]) and Path(told["file"]).name == told["file"] else None
