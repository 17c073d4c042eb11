"""Make a virtual environment and install pinned lock files into it. Standard library only, no bpy.

Used by the add-on (backend_install.py, inside Blender's Python) and by scripts/setup.py.
A mark inside the environment says which locks it holds. It is written last, so an interrupted run is started
over; pip's cache keeps what had been downloaded.
"""

import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..process.run_program import InstallCancelled, InstallError, remove_folder, run, scrubbed
from .package_sources import address_of

log = logging.getLogger(__name__)

OnProgress = Callable[[float, str], None]

ACCELERATORS = ("cpu", "cuda")
MARK = ".trellis-installed"
ANSWER_SECONDS = 180  # for a question to an interpreter, on a busy machine too
# pip's first word on a package: by name, or by the file it takes it from.
PACKAGE = re.compile(
    r"(?:Collecting |Requirement already satisfied: |Processing \S*[/\\])(\w[\w.-]*?)(?=[\s=<>!~]|-\d|$)"
)


@dataclass(frozen=True)
class Environment:
    """What is to be installed where."""

    folder: Path
    locks: tuple[Path, ...]
    accelerator: str = "cpu"
    base_python: str = ""  # the interpreter that makes the environment; with uv "" fetches one
    torch_index: str = ""  # take torch from this package index, whatever else is configured
    uv: str = ""  # the program uv; "": venv and pip of base_python, which then must be there
    wheels: str = ""  # a folder of wheels to take all packages from, without a network
    log: Path | None = None  # where all that the programs say is written
    cancel: threading.Event = field(default_factory=threading.Event)


def interpreter(folder: Path) -> Path:
    """The Python of the virtual environment `folder`, which need not exist."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def mark_of(environment: Environment) -> dict[str, str]:
    """What the finished environment says about itself."""
    return {
        "accelerator": environment.accelerator,
        "torch_index": environment.torch_index,
        "locks": hash_of(environment.locks),
    }


def hash_of(locks: tuple[Path, ...]) -> str:
    """Equal for equal lock files."""
    text = "\n".join(lock.read_text(encoding="utf-8") for lock in locks)
    return hashlib.sha256(text.encode()).hexdigest()


def read_mark(folder: Path) -> dict[str, str] | None:
    """The mark of the environment in `folder`; None where it has none or the mark cannot be read."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, dict) else None


def mark_time(folder: Path) -> float:
    """When the environment in `folder` was marked, in seconds since the epoch; 0 where it is not."""
    try:
        return (folder / MARK).stat().st_mtime
    except OSError:
        return 0.0


def is_current(environment: Environment) -> bool:
    """Whether the environment stands and holds exactly these locks."""
    return interpreter(environment.folder).exists() and read_mark(environment.folder) == mark_of(environment)


def build(environment: Environment, on_progress: OnProgress) -> None:
    """Make `environment` or bring it up to date. Raises InstallError, InstallCancelled."""
    python = str(interpreter(environment.folder))
    if not _is_usable(environment):
        on_progress(0.0, f"Making {environment.folder.name}")
        _create(environment)
    write_mark(environment.folder, {"state": "unfinished"})
    on_progress(0.04, "Looking up packages")
    _install_torch_build(environment, python, on_progress)
    requirements = [argument for lock in environment.locks for argument in ("-r", str(lock))]
    counter = PipProgress(sum(len(pins(lock)) for lock in environment.locks), on_progress)
    run(
        [python, "-m", "pip", "install", "--progress-bar", "off", *requirements],
        counter.line,
        environment.cancel,
        log=environment.log,
        variables=_offline(environment),
    )
    write_mark(environment.folder, mark_of(environment))
    on_progress(1.0, "Ready")


def _offline(environment: Environment) -> dict[str, str]:
    """What makes pip take everything from the folder of wheels, where one is named."""
    if not environment.wheels:
        return {}
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": address_of(environment.wheels)}


def pins(lock: Path) -> list[str]:
    """The requirement lines of a lock file."""
    lines = (line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


class PipProgress:
    """Turns the lines that pip writes into a fraction and a few words. `total` is the number of packages."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self.total, self.seen, self.on_progress = max(total, 1), 0, on_progress

    def line(self, text: str) -> None:
        """One line of pip's output."""
        if match := PACKAGE.match(text):
            self.seen = min(self.seen + 1, self.total)
            self._say(match[1])
        elif match := re.match(r"\s*Downloading (\S+?)-\d\S* (\([\d.]+ [kMG]B\))", text):
            self._say(f"downloading {match[1].rpartition('/')[2]} {match[2]}")
        elif text.startswith("Installing collected packages"):
            self.on_progress(0.8, f"Installing {text.count(',') + 1} packages")

    def _say(self, words: str) -> None:
        self.on_progress(0.05 + 0.7 * self.seen / self.total, f"{self.seen}/{self.total} {words}")


# --- the environment itself


def _is_usable(environment: Environment) -> bool:
    """Whether what is there can be added to: finished, for the same build of torch, and its pip starts."""
    python, mark = interpreter(environment.folder), read_mark(environment.folder)
    build_of_torch = (environment.accelerator, environment.torch_index)
    if mark is not None and (mark.get("accelerator"), mark.get("torch_index")) != build_of_torch:
        return False
    return python.exists() and _exit_code([str(python), "-m", "pip", "--version"]) == 0


def _exit_code(command: list[str]) -> int:
    """Run a short question; a program that does not start or end answers 1."""
    try:
        return subprocess.run(
            command, capture_output=True, timeout=ANSWER_SECONDS, env=scrubbed(os.environ)
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 1


def _create(environment: Environment) -> None:
    """An empty virtual environment with pip, in place of whatever is there."""
    _check_base(environment.base_python)
    remove_folder(environment.folder)
    environment.folder.parent.mkdir(parents=True, exist_ok=True)
    run([environment.base_python, "-m", "venv", str(environment.folder)], log.info, environment.cancel)


def _check_base(base_python: str) -> None:
    """Refuse an interpreter that cannot make environments, in the words that help."""
    if shutil.which(base_python) is None:
        raise InstallError(f"There is no Python at {base_python}: name another one.")
    probe = "import sys; sys.exit(3) if sys.version_info < (3, 11) else None; import venv, ensurepip"
    code = _exit_code([base_python, "-c", probe])
    if code == 3:
        raise InstallError(f"The Python {base_python} is older than 3.11: name a newer one.")
    if code:
        raise InstallError(
            f"The Python {base_python} cannot make environments: install its venv module "
            "(Debian and Ubuntu: apt-get install python3-venv) or name another Python."
        )


def write_mark(folder: Path, mark: dict[str, str]) -> None:
    """Write the mark of the environment in `folder`."""
    part = folder / (MARK + ".part")
    part.write_text(json.dumps(mark), encoding="utf-8")
    os.replace(part, folder / MARK)


# --- which build of torch


def _install_torch_build(environment: Environment, python: str, on_progress: OnProgress) -> None:
    """Install torch alone where pip's default build is not the one asked for; the lock then finds it there.

    The default is the CUDA build on Linux and the CPU build on Windows; uv knows where the others lie. A
    machine whose pip has sources of its own is taken at its word.
    """
    torch = next((pin for lock in environment.locks for pin in pins(lock) if pin.startswith("torch==")), "")
    if not torch:
        return
    if environment.torch_index:
        on_progress(0.05, f"Downloading {torch}")
        command = [python, "-m", "pip", "install", "--no-deps", "--index-url", environment.torch_index, torch]
        return run(command, log.info, environment.cancel)
    default = {"Linux": "cuda", "Windows": "cpu"}.get(platform.system(), environment.accelerator)
    if environment.accelerator == default or environment.wheels or _has_own_sources(python):
        return
    on_progress(0.05, f"Downloading {torch} for {environment.accelerator}")
    try:
        _install_with_uv(environment, python, torch)
    except InstallCancelled:
        raise
    except InstallError as fault:
        if environment.accelerator == "cuda":
            raise
        # The CUDA build runs on the processor too; it is only much larger.
        log.warning("torch's CPU build was not to be had (%s); the default build is taken.", fault)


def _has_own_sources(python: str) -> bool:
    """Whether this machine's pip is told where to find packages (a mirror, a folder of wheels)."""
    command = [python, "-m", "pip", "config", "list"]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=ANSWER_SECONDS,
        env=scrubbed(os.environ),
    )
    return bool(re.search(r"(index-url|find-links)\b", result.stdout))


def _install_with_uv(environment: Environment, python: str, torch: str) -> None:
    found = shutil.which("uv")
    if not found:
        lock = Path(__file__).resolve().parents[2] / "wheels" / "uv.txt"
        run([python, "-m", "pip", "install", "-r", str(lock)], log.info, environment.cancel)
    backend = "auto" if environment.accelerator == "cuda" else "cpu"
    uv = [found] if found else [python, "-m", "uv"]
    command = [*uv, "pip", "install", "--python", python, "--no-deps", f"--torch-backend={backend}", torch]
    run(command, log.info, environment.cancel)
