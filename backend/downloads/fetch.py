"""One file over HTTP into a growing file that a later run goes on with, and the proof that it is the right.

huggingface_hub transfers it: follows redirects, asks for the rest where a connection breaks, and gives up.
"""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

from huggingface_hub.file_download import http_get

from backend.downloads.remote import RemoteFile
from backend.errors import UserError

OnBytes = Callable[[int], None]
"""Gets how many bytes of the file are there."""
_CHUNK = 1 << 22


def fetch(file: RemoteFile, part: Path, headers: dict[str, str] | None, on_bytes: OnBytes) -> str:
    """Bring `part` to the whole file, going on where an earlier run stopped; its sha256.

    UserError where what came is another file, which is then removed; faults of network and disk pass through.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    if part.exists() and part.stat().st_size > file.size_bytes:
        part.unlink()
    with _Growing(part, file, on_bytes) as target:
        have = target.seek(0, io.SEEK_END)
        on_bytes(have)
        if have < file.size_bytes:
            http_get(file.url, target, resume_size=have, headers=headers, expected_size=file.size_bytes)
        os.fsync(target.fileno())
    digest = checked(file, part)
    if not digest:
        part.unlink()
        raise UserError(
            f"{file.path} arrived damaged, or is not the file it should be (wrong hash), and was not taken: "
            "download again, or choose another mirror."
        )
    return digest


def checked(file: RemoteFile, path: Path) -> str:
    """The sha256 of the file at `path`; "" where it is not the remote one."""
    if path.stat().st_size != file.size_bytes:
        return ""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            sha256.update(chunk)
            blob.update(chunk)
    proof = (sha256.hexdigest() == file.sha256) if file.sha256 else (blob.hexdigest() == file.git_sha1)
    return sha256.hexdigest() if proof else ""


class _Growing(io.FileIO):
    """A file that tells how long it is after each write, and takes no more than it should hold."""

    def __init__(self, path: Path, file: RemoteFile, on_bytes: OnBytes) -> None:
        super().__init__(path, "r+b" if path.exists() else "w+b")
        self._file = file
        self._on_bytes = on_bytes

    def write(self, data) -> int:
        """All of the data, or what the disk says."""
        if self.tell() + len(data) > self._file.size_bytes:
            raise UserError(f"More arrives for {self._file.path} than it should hold: choose another mirror.")
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[super().write(rest) :]
        self._on_bytes(self.tell())
        return len(data)
