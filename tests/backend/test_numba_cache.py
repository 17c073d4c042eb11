"""Where compiled functions are kept on a machine that lets neither its code nor a home be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from backend.machine.numba_cache import VARIABLE, choose_numba_cache

ROOT = Path(__file__).parents[2]


def test_a_backend_that_may_write_nowhere_keeps_them_in_a_temporary_folder(tmp_path: Path) -> None:
    code, temporary = tmp_path / "code", tmp_path / "temporary"
    temporary.mkdir()
    for package in ("backend", "blender_trellis"):
        left_out = shutil.ignore_patterns("__pycache__", "weights", "translations")
        shutil.copytree(ROOT / package, code / package, ignore=left_out)
    shutil.copy(ROOT / "blender_manifest.toml", code)
    for folder in [path for path in code.rglob("*") if path.is_dir()]:
        (folder / "__pycache__").touch()  # which nobody can write into, whatever his rights
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    environment |= {"HOME": os.devnull, "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "backend", "finish", "--help"]
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [path.name.split("-")[:2] for path in temporary.iterdir()] == [["trellis", "numba"]]


def test_a_machine_with_a_place_of_its_own_is_left_alone() -> None:
    environment: dict[str, str] = {}
    choose_numba_cache(environment)
    assert environment == {}
    environment[VARIABLE] = "/somebody's"
    choose_numba_cache(environment)
    assert environment == {VARIABLE: "/somebody's"}
