"""A real Blender with a window: the one that BLENDER names, or that in the folder of make_blender_root.sh."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
ROOT = Path(os.environ.get("BLENDER_ROOT", Path.home() / ".cache" / "trellis-tests" / "blender-root"))


@dataclass(frozen=True)
class Blender:
    """How to run it: `prefix` goes before every command."""

    prefix: tuple[str, ...]
    executable: str
    folders: tuple[Path, ...]

    def run(self, *arguments: object, window: bool = False, seconds: int = 240, **variables: object):
        """Runs Blender and gives back what it said."""
        command = [*self.prefix, *([str(HERE / "run_in_window.sh")] if window else []), self.executable]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {"DIRS": " ".join(map(str, self.folders)), "SECONDS_ALLOWED": str(seconds)}
        environment |= {name: str(value) for name, value in variables.items()}
        return subprocess.run(
            [*command, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )


@pytest.fixture
def blender(tmp_path) -> Blender:
    """Skips where there is none."""
    interpreter = Path(sys.base_prefix)
    folders = (CHECKOUT, interpreter, tmp_path)
    if os.environ.get("BLENDER"):
        if shutil.which("Xvfb") is None:
            pytest.skip("Xvfb is not installed")
        return Blender((), os.environ["BLENDER"], folders)
    if not (ROOT / "usr" / "bin" / "blender").exists():
        pytest.skip(f"no Blender in {ROOT} (make_blender_root.sh makes one) and BLENDER is not set")
    if os.geteuid() != 0:
        pytest.skip("entering the Blender root needs root rights")
    return Blender((str(HERE / "enter_root.sh"), str(ROOT)), "blender", folders)
