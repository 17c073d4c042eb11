"""Make an environment with uv and install lock files into it. Standard library only, no bpy.

uv needs neither pip nor venv of the Python that it builds on, and can bring a Python of its own. Its store of
packages lies beside the environment: what a cancelled installation has downloaded is not downloaded again.
Where the system has hard links, the files of both are one on the disk.
"""

import os
import platform
import re
import time
from pathlib import Path

from ..process.run_program import remove_folder, run
from .package_sources import has_own_sources, uv_variables
from .python_environment import Environment, OnProgress, interpreter, pins, read_mark, write_mark

CACHE = "uv-cache"
PYTHONS = "python"
OWN_PYTHON = "3.11"  # the locks were made with it
LOOK_SECONDS = 3.0  # between two looks at how much has come


def build_with_uv(environment: Environment, expected_bytes: int, on_progress: OnProgress) -> None:
    """Make `environment` or bring it up to date. expected_bytes: of it on the disk, for the bar.

    Raises InstallError, InstallCancelled.
    """
    variables = _variables(environment)
    folder, python = environment.folder, str(interpreter(environment.folder))
    if not _is_usable(environment):
        on_progress(0.0, "Making the environment")
        remove_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        base = environment.base_python or OWN_PYTHON
        preference = "only-system" if environment.base_python else "only-managed"
        command = [
            environment.uv,
            "venv",
            "--no-project",
            "--python-preference",
            preference,
            "--python",
            base,
        ]
        run([*command, str(folder)], _nothing, environment.cancel, environment.log, variables)
    write_mark(folder, _unfinished(environment))
    on_progress(0.03, "Looking up packages")
    counter = _Progress(folder.parent / CACHE, expected_bytes, on_progress)
    for arguments in _torch_first(environment) + [_all(environment, variables)]:
        command = [environment.uv, "pip", "install", "--python", python, *arguments]
        run(command, counter.line, environment.cancel, environment.log, variables, counter.look)


def _variables(environment: Environment) -> dict[str, str]:
    beside = environment.folder.parent
    variables = {
        "UV_CACHE_DIR": str(beside / CACHE),
        "UV_PYTHON_INSTALL_DIR": str(beside / PYTHONS),
        "UV_PYTHON_DOWNLOADS": "never" if environment.base_python else "automatic",
        "UV_NO_PROGRESS": "1",
    }
    return variables | uv_variables(os.environ, environment.wheels)


def _is_usable(environment: Environment) -> bool:
    mark = read_mark(environment.folder)
    return mark == _unfinished(environment) and interpreter(environment.folder).exists()


def _unfinished(environment: Environment) -> dict[str, str]:
    """The mark of one that is being made, which the next attempt may go on with."""
    return {
        "state": "unfinished",
        "accelerator": environment.accelerator,
        "torch_index": environment.torch_index,
        "base_python": environment.base_python,
    }


def _torch_first(environment: Environment) -> list[list[str]]:
    """torch alone from the index that somebody has named for it; the lock then finds it there."""
    if not environment.torch_index:
        return []
    torch = [pin for lock in environment.locks for pin in pins(lock) if pin.startswith("torch==")]
    return [["--no-deps", "--default-index", environment.torch_index, *torch]] if torch else []


def _all(environment: Environment, variables: dict[str, str]) -> list[str]:
    """What else the command says: the locks, and which build of torch. PyPI's is the CUDA build on Linux and
    the CPU build on Windows; a machine that has sources of its own is taken at its word."""
    arguments = [argument for lock in environment.locks for argument in ("-r", str(lock))]
    default = {"Linux": "cuda", "Windows": "cpu"}.get(platform.system(), environment.accelerator)
    if (
        environment.torch_index
        or environment.accelerator == default
        or has_own_sources(os.environ, variables)
    ):
        return arguments
    return [*arguments, f"--torch-backend={'auto' if environment.accelerator == 'cuda' else 'cpu'}"]


class _Progress:
    """How far uv has come, by what lies in its store."""

    def __init__(self, cache: Path, expected_bytes: int, on_progress: OnProgress) -> None:
        self._cache, self._expected, self._on_progress = cache, max(expected_bytes, 1), on_progress
        self._fraction, self._words, self._looked = 0.03, "Looking up packages", time.monotonic()

    def line(self, text: str) -> None:
        """One line of uv's output."""
        if match := re.match(r"\s*Downloading (\S+) \(([\d.]+)(\w+)\)", text):
            self._say(self._fraction, f"Downloading {match[1]} ({match[2]} {match[3]})")
        elif match := re.match(r"Resolved (\d+) packages?", text):
            self._say(0.05, f"Downloading {match[1]} packages")
        elif text.startswith("Prepared "):
            self._say(0.85, "Installing")

    def look(self) -> None:
        """While uv says nothing: how much has come."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            share = folder_bytes(self._cache) / self._expected
            self._looked = time.monotonic()
            self._say(max(self._fraction, 0.05 + 0.75 * min(share, 1.0)), self._words)

    def _say(self, fraction: float, words: str) -> None:
        self._fraction, self._words = max(self._fraction, fraction), words
        self._on_progress(self._fraction, words)


def folder_bytes(*folders: Path) -> int:
    """What folders take on the disk; files that are one and the same count once, what goes meanwhile not."""
    sizes: dict[tuple[int, int], int] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                try:
                    stat = os.lstat(os.path.join(place, name))
                except OSError:
                    continue
                sizes[(stat.st_dev, stat.st_ino or hash((place, name)))] = stat.st_size
    return sum(sizes.values())


def _nothing(line: str) -> None:
    """The log has it."""
