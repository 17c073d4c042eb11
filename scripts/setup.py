"""Set this checkout up: `python scripts/setup.py` or `make setup`. Standard library only; for any system.

.venv          the backend: backend/requirements/cpu.txt or cuda.txt, dev.txt and ray.txt
.venv-blender  Blender as a Python module, for demo, tests and extension builder (CPython 3.11 only)

What is already in place is left alone, and a run that was interrupted is taken up again. Settings, also as
variables of the environment: ACCELERATOR=cpu|cuda, TORCH_INDEX=<package index to take torch from>,
BLENDER=<a Blender executable to use instead of .venv-blender>.
"""

import argparse
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
    sys.exit(
        "Python 3.11 or newer is needed: run `make setup PYTHON=python3.11` or `python3.11 scripts/setup.py`."
    )

from blender_trellis.batch.console import prepare_streams  # noqa: E402
from blender_trellis.install.python_environment import ACCELERATORS, Environment, build, is_current, read_mark  # noqa: E402
from blender_trellis.process.run_program import InstallError  # noqa: E402
from scripts import debian_packages  # noqa: E402

REQUIREMENTS = ROOT / "backend" / "requirements"
BACKEND = ROOT / ".venv"
BLENDER = ROOT / ".venv-blender"
# Blender publishes its Python module for these machines.
BLENDER_MACHINES = {
    "Linux": ("x86_64",),
    "Windows": ("AMD64", "ARM64"),
    "Darwin": ("arm64", "x86_64"),
}


def main() -> int:
    """Do it; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    options = parse_options()
    started = time.monotonic()
    try:
        set_up(options)
    except InstallError as fault:
        sys.stderr.write("".join(f"    {line}\n" for line in fault.log) + f"Setup failed: {fault}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; run it again to go on.\n")
        return 130
    say(f"Ready in {time.monotonic() - started:.0f} s.")
    return 0


def parse_options() -> argparse.Namespace:
    """The command line, with the environment's variables as defaults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    recorded = (read_mark(BACKEND) or {}).get("accelerator")
    parser.add_argument(
        "--accelerator",
        choices=ACCELERATORS,
        default=os.environ.get("ACCELERATOR") or recorded or "cpu",
        help="which build of torch (default: the one set up before, else cpu)",
    )
    return parser.parse_args()


def set_up(options: argparse.Namespace) -> None:
    """All steps in order. Raises InstallError."""
    install_system_packages()
    install_environment(backend_environment(options.accelerator))
    python311 = find_python311()
    if python311 and platform.machine() in BLENDER_MACHINES.get(platform.system(), ()):
        install_environment(blender_environment(python311))
    elif not os.environ.get("BLENDER"):
        say(
            f"{BLENDER.name}: skipped, Blender's Python module needs Python 3.11 on a common machine. "
            "The demo and the tests in Blender want BLENDER=<path of a Blender 4.2 or newer> instead."
        )


def backend_environment(accelerator: str) -> Environment:
    """The backend's environment with the tools for training, tests and checks."""
    return Environment(
        folder=BACKEND,
        locks=tuple(REQUIREMENTS / f"{name}.txt" for name in (accelerator, "dev", "ray")),
        accelerator=accelerator,
        base_python=base_python(),
        torch_index=os.environ.get("TORCH_INDEX", ""),
    )


def blender_environment(python311: str) -> Environment:
    """Blender as a module, and pytest."""
    return Environment(folder=BLENDER, locks=(REQUIREMENTS / "blender.txt",), base_python=python311)


def install_environment(environment: Environment) -> None:
    """Build it unless it stands; progress goes to the terminal."""
    if is_current(environment):
        say(f"{environment.folder.name}: up to date")
        return
    report = ProgressLine(environment.folder.name)
    build(environment, report.show)
    report.done()


def base_python() -> str:
    """This interpreter, or the one behind it when it is itself that of a virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


def find_python311() -> str | None:
    """An interpreter of the version that Blender's Python module is built for."""
    if sys.version_info[:2] == (3, 11):
        return base_python()
    for command in (["python3.11"], ["py", "-3.11"]):
        if shutil.which(command[0]):
            probe = [*command, "-c", "import sys, ensurepip; print(sys.executable, *sys.version_info[:2])"]
            answer = subprocess.run(probe, capture_output=True, text=True, errors="replace").stdout.strip()
            if answer.endswith(" 3 11"):
                return answer.removesuffix(" 3 11")
    return None


def install_system_packages() -> None:
    """On Debian and Ubuntu: the packages that are missing. Raises InstallError when only another user can."""
    if platform.system() != "Linux":
        return
    venv = debian_packages.missing_venv()
    libraries = [] if os.environ.get("BLENDER") else debian_packages.missing_libraries()
    packages = venv + libraries
    if not packages:
        return
    line = " ".join(debian_packages.install_command(packages))
    if not debian_packages.can_install():
        raise InstallError(
            f"System packages are missing: run `sudo {line}` (or your system's like) and try again."
        )
    say(f"System packages: installing {' '.join(packages)}")
    if complaint := debian_packages.install(packages):
        raise InstallError(f"`{line}` failed: {complaint}")


class ProgressLine:
    """A line that is written over on a terminal, and a line every few seconds in a log."""

    def __init__(self, name: str) -> None:
        self.name, self.terminal = name, sys.stdout.isatty()
        self.started = self.last = time.monotonic()

    def show(self, fraction: float, words: str) -> None:
        """Called for every step."""
        now = time.monotonic()
        text = f"{self.name}: {fraction:4.0%} {words}"
        if self.terminal:
            sys.stdout.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stdout.flush()
        elif now - self.last >= 3 or fraction in (0.0, 0.8):
            say(text)
            self.last = now

    def done(self) -> None:
        """Shows the outcome."""
        erase = "\r\x1b[K" if self.terminal else ""
        say(f"{erase}{self.name}: ready after {time.monotonic() - self.started:.0f} s")


def say(text: str) -> None:
    """One line on the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    prepare_streams()
    sys.exit(main())
