"""Writing files so that a reader sees the old file or the whole new one, never half of it."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from backend.errors import UserError

_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside `final`; it takes the final name when the block ends without an error.

    The temporary file exists and is empty when the block starts, and keeps the suffix of `final` because
    writers choose the format by it. A link at `final` is followed. Raises UserError when the folder is
    missing or may not be written, when `final` is not an ordinary file, and when the disk is full; whatever
    goes wrong, the temporary file is removed and the old file stays.
    """
    final = Path(os.path.realpath(final))
    temporary = final.parent / f".{secrets.token_hex(8)}{final.suffix[:32]}"
    with _explained(final, temporary):
        _check_target(final)
        _create(temporary)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(final.parent)


def lacks_room(error: BaseException) -> bool:
    """Whether a disk was full, the one for temporary files included."""
    no_folder = isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error)
    return no_folder or (isinstance(error, OSError) and error.errno in _NO_SPACE)


def write_bytes(final: Path, data: bytes) -> None:
    """Write a whole file through `atomic_path`."""
    with atomic_path(final) as temporary:
        temporary.write_bytes(data)


def make_writable_folder(folder: Path) -> None:
    """Have a folder that files can be made in; UserError where that is not to be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made ({error.strerror}); choose another output folder."
        ) from error
    check_writable_folder(folder)


def check_writable_folder(folder: Path) -> None:
    """Raise UserError unless a new file can be made in `folder`."""
    probe = Path(folder) / f".{secrets.token_hex(8)}"
    with _explained(Path(folder), probe):
        _check_folder(probe.parent)
        try:
            _create(probe)
        except FileNotFoundError as error:  # as of /proc, which is a folder for other things than files
            raise UserError(f"{folder} takes no files; choose another folder.") from error
        probe.unlink()


def check_target(final: Path) -> None:
    """Raise UserError where no file can get the name `final`: it is a folder's, or its folder is missing."""
    final = Path(os.path.realpath(final))
    with _explained(final, final):
        _check_target(final)


LARGEST_CHECKPOINT = 64 << 30
"""Bytes of a file of weights."""


def check_ordinary(path: Path, largest: int) -> None:
    """UserError unless `path` is an ordinary file of at most `largest` bytes, or nothing at all.

    To be called before opening: a named pipe waits for ever, a device has no end.
    """
    try:
        info = path.stat()
    except (OSError, ValueError):  # whoever opens it says so
        return
    if not stat.S_ISREG(info.st_mode):
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "a named pipe or a device"
        raise UserError(f"{path} is {kind} and not a file; name an ordinary file.")
    if info.st_size > largest:
        raise UserError(
            f"{path} has {info.st_size >> 20} MiB, and at most {largest >> 20} MiB are read; choose another."
        )


def _create(path: Path) -> None:
    # Not tempfile: that makes files only their owner can read, and the mode would stay after the rename.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _check_target(final: Path) -> None:
    _check_folder(final.parent)
    if final.exists() and not stat.S_ISREG(final.stat().st_mode):
        raise UserError(f"{final} is not an ordinary file; choose another file name.")


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise UserError(f"The folder {folder} does not exist; create it or choose another one.")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file and not a folder; choose another folder.")


def _flush(path: Path) -> None:
    """Have the data on the disk before the name changes; this is also where a late "disk full" appears."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE folders cannot be synchronised; the file itself already is.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def _explained(target: Path, own: Path) -> Iterator[None]:
    """Turn faults of the disk, the folder, `target` or its temporary file `own` into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise UserError(
                f"The disk has no room for {target}; free some space or choose another folder."
            ) from error
        named = None if error.filename is None else Path(os.fsdecode(error.filename))
        if named not in (None, own, target, own.parent):
            raise
        if error.errno in _NOT_ALLOWED:
            raise UserError(
                f"{target} may not be written; change the permissions or choose another folder."
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"The name {target.name[:40]}… is too long; choose a shorter one.") from error
        raise
