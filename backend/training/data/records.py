"""Prepared objects: what is slow to make is made once, kept in one file an object and kind, and learned from.

A file tells in its metadata what it was made of; one that was made of something else is made again. So a run
that was stopped goes on where it was, and the encoders need not be in memory while the flows are trained.
"""

import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.errors import UserError
from backend.geometry.mesh_files import READING, Asset, Entry, load_asset
from backend.tensor_files import write_tensors
from backend.training.distributed import ALONE, World

log = logging.getLogger(__name__)
_LOG_SECONDS = 10.0

Make = Callable[[Entry, Asset], dict[str, Tensor]]
Begin = Callable[[], Make]
"""Reads the encoders that making needs; called when something is to be made."""


class OutOfTime(Exception):
    """The time that was given is over; the same call goes on."""


class Records:
    """The files of one kind in a folder of prepared objects.

    `origin` and, for each entry, `details` name all that the files are made of besides the mesh.
    """

    def __init__(
        self, folder: Path, kind: str, origin: dict[str, Any], details: Mapping[Entry, object] | None = None
    ) -> None:
        self.kind = kind
        self._folder = folder
        self._origin = origin
        self._details = details or {}
        self._signatures: dict[Entry, str] = {}

    def prepare(
        self,
        entries: Sequence[Entry],
        begin: Begin,
        until: float = math.inf,
        world: World = ALONE,
        threads: int = 1,
        load: Callable[[Entry], Asset] | None = None,
    ) -> tuple[Entry, ...]:
        """Makes the files that are not there; returns the entries that have one, without unusable meshes.

        All processes of the world share the work. OutOfTime when time.monotonic() says `until`.
        """
        missing = [entry for entry in entries[world.rank :: world.size] if not self.is_ready(entry)]
        read = load or (lambda entry: load_asset(entry.path, split=True))
        logged = time.monotonic()
        if missing and time.monotonic() <= until:
            make = begin()

            def one(entry: Entry) -> None:
                if time.monotonic() <= until:
                    self._write(entry, read, make)

            with ThreadPoolExecutor(threads) as pool:
                for done, _ in enumerate(pool.map(one, missing), start=1):
                    if world.leads and (done == len(missing) or time.monotonic() - logged > _LOG_SECONDS):
                        logged = time.monotonic()
                        log.info("prepared %s: %d of %d", self.kind, done, len(missing))
        world.wait()
        # Late is late for all, or some would wait for ever for the others.
        (late,) = world.agree(float(time.monotonic() > until))
        if late:
            raise OutOfTime
        return tuple(entry for entry in entries if self.is_ready(entry))

    def is_ready(self, entry: Entry) -> bool:
        """Whether the entry's file is there and was made of the same things."""
        path = self._path(entry)
        if not path.is_file():
            return False
        try:
            with safe_open(path, framework="pt") as file:
                return (file.metadata() or {}).get("origin") == self._signature(entry)
        except SafetensorError:
            return False

    def read(self, entry: Entry, *names: str) -> tuple[Tensor, ...]:
        """Whole tensors of an entry by name."""
        with safe_open(self._path(entry), framework="pt") as file:
            return tuple(file.get_tensor(name) for name in names)

    def row(self, entry: Entry, name: str, number: int) -> Tensor:
        """One row of a tensor of an entry; the number wraps round."""
        with safe_open(self._path(entry), framework="pt") as file:
            rows = file.get_slice(name)
            return rows[number % rows.get_shape()[0]]

    def _write(self, entry: Entry, read: Callable[[Entry], Asset], make: Make) -> None:
        try:
            tensors = make(entry, read(entry))
        except UserError as error:
            log.warning("%s is left out: %s", entry.name, error)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        write_tensors(self._path(entry), tensors, {"origin": self._signature(entry)})

    def _path(self, entry: Entry) -> Path:
        # The name for people, and the sum because two names may differ in a letter that no file may have.
        readable = re.sub(r"[^A-Za-z0-9_-]+", "_", entry.name)[:60]
        short = hashlib.sha256(entry.name.encode()).hexdigest()[:8]
        return self._folder / f"{readable}-{short}.{self.kind}.safetensors"

    def _signature(self, entry: Entry) -> str:
        """Names exactly this mesh and everything else that the file was made of."""
        if entry not in self._signatures:
            mesh = hashlib.sha256(entry.path.read_bytes()).hexdigest() if entry.path.is_file() else ""
            origin = {"mesh": mesh, "name": entry.name, "details": self._details.get(entry), **self._origin}
            if entry.path.suffix.lower() != ".npz":
                origin["reading"] = READING
            text = json.dumps(origin, sort_keys=True)
            self._signatures[entry] = hashlib.sha256(text.encode()).hexdigest()
        return self._signatures[entry]


def numbered(name: str, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Tensors under the names "name.0", "name.1", …"""
    return {f"{name}.{number}": tensor for number, tensor in enumerate(tensors)}


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
