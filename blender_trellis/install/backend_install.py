"""The backend's Python: find it, install it, verify it. Standard library only, no bpy.

The packages (torch and what it needs) live in an environment of their own, never in Blender's Python. It is
made under another name and takes its place when it is whole and has been tried, so that an installation that
fails or is stopped leaves the earlier one as it was. How packages get in is in python_environment.py.
"""

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from ..faults import Fault
from ..process.run_program import InstallError, scrubbed
from .python_environment import (
    ACCELERATORS,
    Environment,
    OnProgress,
    build,
    interpreter,
    is_current,
    remove_folder,
)

log = logging.getLogger(__name__)

ENVIRONMENT = "backend-venv"
NEEDED_BYTES = {"cpu": 4 << 30, "cuda": 12 << 30}
LONGEST_PATH_IN_PACKAGES = 180  # of torch's own files, below site-packages
WINDOWS_PATH_LIMIT = 260
VERIFY_SECONDS = 180  # torch from a cold disk takes its time

VERIFY = """
import platform, torch, transformers as tf
print(f"Python {platform.python_version()}, torch {torch.__version__}, transformers {tf.__version__}")
"""


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
            path = Path(chosen.strip()).expanduser()
            return interpreter(path) if path.is_dir() else path
    folders = [user_folder / ENVIRONMENT] if user_folder else []
    for folder in (*folders, extension_root / ".venv"):
        if interpreter(folder).exists():
            return interpreter(folder)
    return None


def install(
    user_folder: Path,
    extension_root: Path,
    accelerator: str,
    on_progress: OnProgress,
    base_python: str = sys.executable,
    cancel: threading.Event | None = None,
) -> Path:
    """Install the locked packages for `accelerator` ("cpu" or "cuda") into `user_folder`; the interpreter.

    Leaves an environment that is already right as it is. Raises InstallError, InstallCancelled.
    """
    if accelerator not in ACCELERATORS:
        raise InstallError(f'There is no accelerator "{accelerator}": choose {" or ".join(ACCELERATORS)}.')
    if accelerator == "cuda" and sys.platform == "darwin":
        raise InstallError("CUDA is not there on macOS: choose cpu, whose build of torch has Metal as well.")
    final = _environment(user_folder / ENVIRONMENT, extension_root, accelerator, base_python, cancel)
    fresh = _environment(user_folder / f"{ENVIRONMENT}.new", extension_root, accelerator, base_python, cancel)
    if is_current(final) and verify(interpreter(final.folder)):
        on_progress(1.0, "Already installed")
        return interpreter(final.folder)
    _check_path_length(fresh.folder)
    _check_space(user_folder, NEEDED_BYTES[accelerator])
    build(fresh, lambda fraction, words: on_progress(0.95 * fraction, words))
    on_progress(0.96, "Trying it")
    _check(interpreter(fresh.folder))
    _put_in_place(fresh.folder, final.folder)
    on_progress(1.0, "Installed")
    return interpreter(final.folder)


def verify(python: Path) -> str | None:
    """Import torch and transformers with `python`; their versions in words, None on failure (see the log)."""
    try:
        return _check(python)
    except InstallError as fault:
        log.warning("%s\n%s", fault, "\n".join(fault.log))
        return None


def _check(python: Path) -> str:
    """The versions in words. Raises InstallError with what the interpreter said."""
    command = [str(python), "-E", "-s", "-c", VERIFY]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=scrubbed(os.environ),
            timeout=VERIFY_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise InstallError(
            f"The backend's Python {python} does not start ({fault}): install it again."
        ) from fault
    if result.returncode:
        tail = result.stderr.strip().splitlines()[-20:]
        reason = tail[-1] if tail else f"exit status {result.returncode}"
        raise InstallError(
            f"The backend's Python {python} cannot import its packages ({reason}): install it again.", tail
        )
    return result.stdout.strip()


def _environment(
    folder: Path, extension_root: Path, accelerator: str, base_python: str, cancel: threading.Event | None
) -> Environment:
    lock = extension_root / "backend" / "requirements" / f"{accelerator}.txt"
    return Environment(
        folder=folder,
        locks=(lock,),
        accelerator=accelerator,
        base_python=base_python,
        torch_index=os.environ.get("TORCH_INDEX", ""),
        cancel=cancel or threading.Event(),
    )


def _check_space(folder: Path, needed: int) -> None:
    """Refuse early what a full disk would refuse late."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InstallError(
            f"{existing} has {free / 2**30:.1f} GB free and the backend needs {needed / 2**30:.0f} GB: "
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
            f"{final} cannot be replaced ({fault.strerror}): stop the backend and install again."
        ) from fault
    try:
        remove_folder(old)
    except Fault as fault:
        log.warning("The earlier environment stays for now: %s", fault)
