"""The backend's Python: find it, install it, verify it. Standard library only, no bpy.

The packages (torch and what it needs) live in an environment of their own, never in Blender's Python. It is
made under another name and takes its place when it is whole and has been tried, so that an installation that
fails or is stopped leaves the earlier one as it was. How packages get in is in python_environment.py.
"""

import logging
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..faults import Fault
from ..process.run_program import InstallError, begin_log, remove_folder
from .accelerator import SPARE, in_words, size_of, suggested_accelerator
from .health import check, lock_for, lock_of
from .python_environment import (
    ACCELERATORS,
    Environment,
    OnProgress,
    build,
    hash_of,
    interpreter,
    is_current,
    mark_of,
    read_mark,
    write_mark,
)
from .uv_environment import CACHE, PYTHONS, build_with_uv, folder_bytes
from .uv_program import FOLDER as UV_FOLDER
from .uv_program import find_uv

log = logging.getLogger(__name__)

ENVIRONMENT = "backend-venv"
LOG = "install.log"
LONGEST_PATH_IN_PACKAGES = 180  # of torch's own files, below site-packages
WINDOWS_PATH_LIMIT = 260


def find_python(
    preference: str,
    user_folder: Path | None,
    extension_root: Path,
    environ: Mapping[str, str] = os.environ,
) -> Path | None:
    """The interpreter that runs the backend; None where there is none yet.

    In this order: the variable TRELLIS_PYTHON, the preference, the installed environment, the checkout's.
    A path that somebody has set is returned even where nothing is there, so that the fault names it.
    """
    for chosen in (environ.get("TRELLIS_PYTHON", ""), preference):
        if chosen.strip():
            named = os.path.expanduser(chosen.strip())
            # The backend starts in another folder; a mere name is looked for on PATH.
            is_path = os.path.dirname(named) or os.path.exists(named)
            path = Path(named).absolute() if is_path and named[0] != "~" else Path(named)
            return interpreter(path) if os.path.isdir(path) else path
    folders = [user_folder / ENVIRONMENT] if user_folder else []
    for folder in (*folders, extension_root / ".venv"):
        if interpreter(folder).exists():
            return interpreter(folder)
    return None


@dataclass(frozen=True)
class Wanted:
    """What is to be installed, and from what."""

    accelerator: str = "auto"  # which build of torch: "cpu", "cuda"; "auto": as the machine's driver suggests
    base_python: str = sys.executable  # the interpreter that the environment builds on; "": uv fetches one
    wheels: str = ""  # a folder of wheels to take all packages from, without a network

    @property
    def build(self) -> str:
        """Which build of torch that comes to."""
        return suggested_accelerator() if self.accelerator == "auto" else self.accelerator


def install(
    user_folder: Path,
    extension_root: Path,
    wanted: Wanted,
    on_progress: OnProgress,
    cancel: threading.Event | None = None,
) -> Path:
    """Install the locked packages into `user_folder`, or mend what is there; the interpreter.

    Leaves an environment that is already right as it is. Raises InstallError, InstallCancelled.
    """
    if wanted.build not in ACCELERATORS:
        raise InstallError(f'There is no accelerator "{wanted.build}": choose {" or ".join(ACCELERATORS)}.')
    if wanted.build == "cuda" and sys.platform == "darwin":
        raise InstallError("CUDA is not there on macOS: choose cpu, whose build of torch has Metal as well.")
    cancel = cancel or threading.Event()
    final = _environment(user_folder, ENVIRONMENT, extension_root, wanted, cancel)
    (lock,) = final.locks
    if is_current(final):
        on_progress(0.0, "Looking at what is installed")
        if check(interpreter(final.folder), lock, cancel).is_right:
            on_progress(1.0, "Already installed")
            return interpreter(final.folder)
        remove_folder(user_folder / CACHE)  # the same files may be broken there
    size = size_of(wanted.build, not wanted.base_python)
    fresh = _environment(user_folder, f"{ENVIRONMENT}.new", extension_root, wanted, cancel)
    _check_path_length(fresh.folder)
    _check_space(user_folder, int(size.disk * SPARE))
    user_folder.mkdir(parents=True, exist_ok=True)
    begin_log(user_folder / LOG)
    _build(fresh, size.disk, lambda fraction, words: on_progress(0.9 * fraction, words))
    on_progress(0.92, "Trying it, which takes a minute the first time")
    health = check(interpreter(fresh.folder), lock, cancel)
    if not health.is_right:
        raise InstallError(f"What was installed does not work: {health.sentence}", health.log)
    write_mark(fresh.folder, mark_of(fresh))
    _put_in_place(fresh.folder, final.folder)
    on_progress(1.0, "Installed")
    return interpreter(final.folder)


def remove(user_folder: Path) -> int:
    """Delete the environment and all that has been fetched for it; the bytes that it gave back.

    An environment that is in use stays whole. InstallError that names what remains, where something does.
    """
    before = removable_bytes(user_folder)
    final, old = user_folder / ENVIRONMENT, user_folder / f"{ENVIRONMENT}.old"
    try:
        if os.path.lexists(final):
            shutil.rmtree(old, ignore_errors=True)
            os.replace(final, old)  # which Windows refuses while a program of it runs
    except OSError as fault:
        raise _remaining(final, fault, before) from fault
    faults: list[tuple[Path, OSError]] = []
    for folder in filter(os.path.lexists, _removable(user_folder)):
        try:
            shutil.rmtree(folder)
        except OSError as fault:
            faults.append((folder, fault))
            shutil.rmtree(folder, ignore_errors=True)  # what comes after that
    if faults and has_leftovers(user_folder):
        raise _remaining(*faults[0], removable_bytes(user_folder))
    return before


def _remaining(folder: Path, fault: OSError, count: int) -> InstallError:
    return InstallError(
        f"{folder} cannot be removed ({fault.strerror or fault}), and {in_words(count)} of disk stay taken: "
        "close what uses it, or let Blender write there, and remove again."
    )


def has_leftovers(user_folder: Path) -> bool:
    """Whether there is something that `remove` would delete."""
    return any(folder.exists() for folder in _removable(user_folder))


def removable_bytes(user_folder: Path) -> int:
    """What `remove` gives back."""
    return folder_bytes(*_removable(user_folder))


def _removable(user_folder: Path) -> list[Path]:
    names = (ENVIRONMENT, f"{ENVIRONMENT}.new", f"{ENVIRONMENT}.old", CACHE, PYTHONS, UV_FOLDER)
    return [user_folder / name for name in names]


def environment_folder(user_folder: Path) -> Path:
    """Where the installed environment is."""
    return user_folder / ENVIRONMENT


def is_outdated(python: Path, user_folder: Path, extension_root: Path) -> bool:
    """Whether `install` made this interpreter's environment for other packages than this extension's."""
    folder = environment_folder(user_folder)
    mark = read_mark(folder) if folder in python.parents else None
    return mark is not None and mark.get("locks") != hash_of((lock_for(python, extension_root),))


def _environment(
    user_folder: Path, name: str, extension_root: Path, wanted: Wanted, cancel: threading.Event
) -> Environment:
    return Environment(
        folder=user_folder / name,
        locks=(lock_of(extension_root, wanted.build),),
        accelerator=wanted.build,
        base_python=wanted.base_python,
        torch_index=os.environ.get("TORCH_INDEX", ""),
        uv=find_uv(extension_root, user_folder),
        wheels=wanted.wheels,
        log=user_folder / LOG,
        cancel=cancel,
    )


def _build(environment: Environment, expected_bytes: int, on_progress: OnProgress) -> None:
    if environment.uv:
        build_with_uv(environment, expected_bytes, on_progress)
    elif environment.base_python:
        build(environment, on_progress)
    else:
        raise InstallError(
            "Only uv can fetch a Python, and it is not there: choose Blender's own Python, or install uv."
        )


def _check_space(folder: Path, needed: int) -> None:
    """Refuse early what a full disk would refuse late."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InstallError(
            f"{existing} has {in_words(free)} free and the backend needs {in_words(needed)} for a while: "
            "free some space, or name a Python on another disk in the preferences."
        )


def _check_path_length(folder: Path) -> None:
    """Windows refuses long paths unless it is told not to."""
    if _windows_takes_long_paths():
        return
    if len(str(folder / "Lib" / "site-packages")) + 1 + LONGEST_PATH_IN_PACKAGES > WINDOWS_PATH_LIMIT:
        raise InstallError(
            f"The folder {folder} is too deep for Windows: switch long paths on (LongPathsEnabled), "
            "or make an environment in a shorter folder and name its Python in the preferences."
        )


def _windows_takes_long_paths() -> bool:
    if sys.platform != "win32":
        return True
    import winreg

    path = r"SYSTEM\CurrentControlSet\Control\FileSystem"
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
    except OSError:
        return False


def _put_in_place(fresh: Path, final: Path) -> None:
    """Give the new environment its name; the old one goes, or stays where something still uses it."""
    old = final.with_name(final.name + ".old")
    remove_folder(old)
    try:
        if final.exists():
            os.replace(final, old)
        os.replace(fresh, final)
    except OSError as fault:
        if old.exists() and not final.exists():
            os.replace(old, final)
        raise InstallError(
            f"{final} cannot be replaced ({fault.strerror or fault}): stop the backend and install again."
        ) from fault
    try:
        remove_folder(old)
    except Fault as fault:
        log.warning("The earlier environment stays for now: %s", fault)
