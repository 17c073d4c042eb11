"""A real Blender with a window: the one that BLENDER names, or that in the folder of make_blender_root.sh."""

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
ROOT = Path(os.environ.get("BLENDER_ROOT", Path.home() / ".cache" / "trellis-tests" / "blender-root"))


@dataclass(frozen=True)
class Blender:
    """How to run it: `prefix` goes before every command."""

    prefix: tuple[str, ...]
    executable: str
    python: str  # an interpreter with numpy that this Blender can start
    folders: tuple[Path, ...]

    def run(self, *arguments: object, window: bool = False, seconds: int = 900, **variables: object):
        """Runs Blender and gives back what it said."""
        started = self.start(*arguments, window=window, seconds=seconds, **variables)
        try:
            said = started.communicate(timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            started.kill()
            raise
        return subprocess.CompletedProcess(started.args, started.returncode, *said)

    def drive(
        self, name: str, plan: dict[str, Any], folder: Path, **variables: object
    ) -> tuple[dict[str, Any], str]:
        """Runs the script `name` of this folder in a window, and gives back what it reports and all that was
        said. plan: what it reads, beside where it puts its pictures and report.
        """
        report = folder / "report.json"
        plan = {"shots": str(folder), "report": str(report), "seconds": PATIENCE} | plan
        (folder / "plan.json").write_text(json.dumps(plan))
        arguments = ("-p", "0", "0", "1280", "800", "--python", HERE / name, "--", folder / "plan.json")
        done = self.run(*arguments, window=True, **variables)
        assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
        found = json.loads(report.read_text())
        assert "error" not in found, found["error"]
        return found, done.stdout + done.stderr

    def start(self, *arguments: object, window: bool = False, seconds: int = 900, **variables: object):
        """Starts Blender; the process is Blender's own where there is no window."""
        command = [*self.prefix, *([str(HERE / "run_in_window.sh")] if window else []), self.executable]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {"DIRS": " ".join(map(str, self.folders)), "SECONDS_ALLOWED": str(seconds)}
        environment |= {name: str(value) for name, value in variables.items()}
        return subprocess.Popen(
            [*command, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session")
def blender(tmp_path_factory) -> Blender:
    """Skips where there is none."""
    folders = (CHECKOUT, tmp_path_factory.getbasetemp())
    if os.environ.get("BLENDER"):
        if shutil.which("Xvfb") is None:
            pytest.skip("Xvfb is not installed")
        return Blender((), os.environ["BLENDER"], sys.executable, folders)
    if not (ROOT / "usr" / "bin" / "blender").exists():
        pytest.skip(f"no Blender in {ROOT} (make_blender_root.sh makes one) and BLENDER is not set")
    if os.geteuid() != 0:
        pytest.skip("entering the Blender root needs root rights")
    return Blender((str(HERE / "enter_root.sh"), str(ROOT)), "blender", "/usr/bin/python3", folders)


@pytest.fixture
def fake_python(blender, tmp_path):
    """An interpreter whose backend is fake_backend.py."""
    path = tmp_path / "python"
    fake = CHECKOUT / "tests" / "blender" / "fake_backend.py"
    path.write_text(f'#!/bin/sh\nexec "{blender.python}" "{fake}"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture(scope="session")
def installed(blender, tmp_path_factory) -> dict[str, Path]:
    """The extension, built here and enabled in a user folder of its own; the variables that lead there."""
    home = tmp_path_factory.mktemp("home")
    archive = home / "trellis.zip"
    user = {"BLENDER_USER_RESOURCES": home / "user", "HOME": home, "XDG_RUNTIME_DIR": home}
    command = ("--command", "extension")
    built = blender.run(*command, "build", "--source-dir", CHECKOUT, "--output-filepath", archive, **user)
    assert archive.exists(), built.stdout + built.stderr
    valid = blender.run(*command, "validate", archive, **user)
    assert valid.returncode == 0, valid.stdout + valid.stderr
    added = blender.run(*command, "install-file", "-r", "user_default", "-e", archive, **user)
    assert added.returncode == 0, added.stdout + added.stderr
    return user
