"""The lock files, and scripts/setup.py run for real in a small copy of the checkout. No network."""

import ast
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from blender_trellis.install.python_environment import interpreter, pins, read_mark
from tests.tiny_wheels import offline, write_wheel

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "backend" / "requirements"
LOCKS = ("cpu.txt", "cuda.txt", "dev.txt", "ray.txt", "blender.txt")
CONDITION = r'(platform_system|platform_machine|python_version) (==|!=|<) "[\w.]+"'


def versions(lock: str) -> dict[str, str]:
    """Package -> version of a lock file."""
    return dict(pin.split(";")[0].strip().split("==") for pin in pins(REQUIREMENTS / lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_exactly_once(lock):
    names = []
    for pin in pins(REQUIREMENTS / lock):
        assert re.fullmatch(rf"[a-z0-9._-]+==[0-9][\w.]*(; {CONDITION}( and {CONDITION})?)?", pin), pin
        names.append(pin.split("==")[0])
    assert len(names) == len(set(names))


def test_locks_hold_what_the_backend_imports():
    wanted = {re.split(r"[=<>\s]", pin)[0] for pin in pins(REQUIREMENTS / "base.in")}
    assert wanted <= versions("cpu.txt").keys()
    assert versions("cpu.txt").items() <= versions("cuda.txt").items()
    assert set(pins(REQUIREMENTS / "cuda.in")) <= versions("cuda.txt").keys() - versions("cpu.txt").keys()
    assert not versions("dev.txt").keys() & versions("cpu.txt").keys()


def test_everything_the_backend_imports_is_asked_for():
    """What an artist has is cpu.txt or cuda.txt: a module of dev.txt would be missing there.

    What cuda.in asks for may be missing too, so that only files that are imported on demand may import it;
    and DracoPy, which a sentence asks for where a file is compressed.
    """
    optional = {
        "spconv": "spconv_engine.py",
        "xformers": "xformers_engine.py",
        "ray": "ray_engine.py",
        "DracoPy": "gltf.py",
    }
    wanted = {re.split(r"[=<>\s]", pin)[0] for pin in pins(REQUIREMENTS / "base.in")}
    ours = {"backend", "blender_trellis", "_typeshed", *sys.stdlib_module_names}  # _typeshed: for mypy only
    for file in (ROOT / "backend").rglob("*.py"):
        if {"training", "evaluation"} & set(file.parts):  # for those who develop
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in {name.split(".")[0] for name in names} - ours:
                if optional.get(name) == file.name:
                    continue
                package = {"PIL": "pillow", "skimage": "scikit-image"}.get(name, name.replace("_", "-"))
                assert package in wanted, f"{file} imports {name}"


def test_these_tests_run_in_the_locked_environment():
    # Not on sys.path, to which setuptools adds the packages inside of it as soon as anything imports it.
    places = list({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    installed = {
        re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(): found.version.split("+")[0]
        for found in importlib.metadata.distributions(path=places)
    }
    locked = versions("cpu.txt") | versions("dev.txt") | versions("ray.txt")
    differing = {name: (version, locked.get(name)) for name, version in installed.items()}
    differing = {name: pair for name, pair in differing.items() if pair[1] and pair[0] != pair[1]}
    assert not differing
    assert locked.keys() - installed.keys() <= {"colorama"}


def test_no_package_index_is_named():
    files = [ROOT / "Makefile", *REQUIREMENTS.iterdir(), *(ROOT / "scripts").glob("*.py")]
    files += (ROOT / "blender_trellis").glob("*.py")
    for file in files:
        assert not re.search(r"(pypi|pythonhosted|download\.pytorch)\.?\w*", file.read_text("utf-8")), file


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What setup.py needs of the checkout, with locks of one small package each."""
    root = tmp_path / "a checkout"  # a blank in the path must not matter
    for folder in ("scripts", "blender_trellis"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    locks = root / "backend" / "requirements"
    locks.mkdir(parents=True)
    write_wheel(root / "wheels", "engine", "1.0")
    write_wheel(root / "wheels", "engine", "1.5")
    write_wheel(root / "wheels", "engine", "2.0")
    write_wheel(root / "wheels", "checker", "1.0")
    write_wheel(root / "wheels", "viewer", "1.0")
    for lock, pin in {"cpu": "engine==1.0", "cuda": "engine==2.0", "dev": "checker==1.0", "ray": ""}.items():
        (locks / f"{lock}.txt").write_text(pin + "\n")
    (locks / "blender.txt").write_text("viewer==1.0\n")
    return root


def environ(checkout: Path, **more: str) -> dict[str, str]:
    """The variables for a run in the copy. BLENDER is set, so no system package is asked for."""
    unset = ("ACCELERATOR", "TORCH_INDEX")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return kept | offline(checkout / "wheels") | {"BLENDER": "blender"} | more


def run_setup(checkout: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`python scripts/setup.py` from somewhere else."""
    return subprocess.run(
        [sys.executable, str(checkout / "scripts" / "setup.py")],
        cwd="/",
        env=environ(checkout, **more),
        capture_output=True,
        text=True,
        timeout=1800,
    )


def version_in(folder: Path, module: str) -> str:
    """What the environment imports."""
    command = [str(interpreter(folder)), "-c", f"import {module}; print({module}.__version__)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_setup_makes_both_environments_once_and_follows_the_locks(checkout):
    first = run_setup(checkout)
    assert first.returncode == 0, first.stdout + first.stderr
    assert version_in(checkout / ".venv", "engine") == "1.0"
    assert version_in(checkout / ".venv", "checker") == "1.0"
    if sys.version_info[:2] == (3, 11):
        assert version_in(checkout / ".venv-blender", "viewer") == "1.0"

    again = run_setup(checkout)
    assert again.returncode == 0
    assert ".venv: up to date" in again.stdout

    (checkout / "backend" / "requirements" / "cpu.txt").write_text("engine==1.5\n")
    assert run_setup(checkout).returncode == 0
    assert version_in(checkout / ".venv", "engine") == "1.5"

    # The accelerator is kept until another is named.
    assert run_setup(checkout, ACCELERATOR="cuda").returncode == 0
    assert version_in(checkout / ".venv", "engine") == "2.0"
    assert ".venv: up to date" in run_setup(checkout).stdout
    assert run_setup(checkout, ACCELERATOR="cpu").returncode == 0
    assert version_in(checkout / ".venv", "engine") == "1.5"


def test_a_killed_setup_is_taken_up_again(checkout):
    command = [sys.executable, str(checkout / "scripts" / "setup.py")]
    process = subprocess.Popen(
        command, env=environ(checkout), stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while not (checkout / ".venv" / "bin").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run_setup(checkout).returncode == 0
    assert version_in(checkout / ".venv", "engine") == "1.0"


def test_a_package_that_is_not_to_be_had_is_one_sentence(checkout):
    (checkout / "backend" / "requirements" / "dev.txt").write_text("nowhere==1.0\n")
    result = run_setup(checkout)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert re.search(r"^Setup failed: .*nowhere==1\.0", result.stderr, re.MULTILINE)
    assert read_mark(checkout / ".venv") == {"state": "unfinished"}


def test_missing_system_packages_are_named_with_their_command(checkout):
    """As an ordinary user on a machine without the libraries: apt-get's line, and nothing half-made."""
    patch = "from scripts import debian_packages as d; d.missing_libraries = lambda: ['libxi6']; "
    patch += "d.can_install = lambda: False; import scripts.setup, sys; sys.exit(scripts.setup.main())"
    result = subprocess.run(
        [sys.executable, "-c", patch],
        cwd=checkout,
        env=environ(checkout, BLENDER=""),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "apt-get install -y --no-install-recommends libxi6" in result.stderr
    assert not (checkout / ".venv").exists()


def test_the_makefile_lists_its_targets():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "bench", "selftest", "build", "train-starter", "check", "clean"):
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), target
