"""Installing the backend for real, from wheels of a few lines named like the real packages. No network."""

import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from blender_trellis.install import backend_install, python_environment
from blender_trellis.install.backend_install import (
    Wanted,
    find_python,
    has_leftovers,
    install,
    is_outdated,
    removable_bytes,
    remove,
)
from blender_trellis.install.health import check, lock_of
from blender_trellis.install.python_environment import Environment, PipProgress, interpreter
from blender_trellis.process.run_program import InstallCancelled, InstallError, run, scrubbed
from tests.tiny_wheels import offline, write_index, write_wheel

CHECKOUT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
CPU = Wanted("cpu", sys.executable)


def quiet(fraction: float, words: str) -> None:
    """A progress that nobody looks at."""


@pytest.fixture
def extension(request, tmp_path, monkeypatch) -> Path:
    """An extension whose lock names packages of one line each; uv is there unless asked for "pip"."""
    tool = getattr(request, "param", "uv")
    monkeypatch.setattr(backend_install, "find_uv", lambda *_: str(UV) if tool == "uv" else "")
    root = tmp_path / "extension"
    for version in ("1.0", "2.0"):
        write_wheel(root / "store", "torch", version)
    write_wheel(root / "store", "torch", "3.0", code='raise ImportError("libcudart is missing")')
    write_wheel(root / "store", "transformers", "5.0")
    # What Blender and its user may have set must not lead the new Python astray.
    hostile = {"PYTHONHOME": str(tmp_path / "no such home"), "PYTHONPATH": str(tmp_path)}
    for name, value in (offline(root / "store") | hostile).items():
        monkeypatch.setenv(name, value)
    write_lock(root, "1.0")
    return root


def works(python: Path, extension: Path) -> str:
    """What the check of an environment says."""
    return check(python, lock_of(extension, "cpu")).sentence


def write_lock(root: Path, torch: str) -> None:
    """Pin torch to a version."""
    folder = root / "backend" / "requirements"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.txt").write_text(f"# a lock\ntorch=={torch}\ntransformers==5.0\n")


# --- finding


def make_python(folder: Path) -> Path:
    """Something that looks like an environment's interpreter."""
    python = interpreter(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_the_interpreter_is_looked_for_in_order(tmp_path):
    user, root = tmp_path / "user", tmp_path / "root"
    assert find_python("", user, root, {}) is None
    checkout = make_python(root / ".venv")
    assert find_python("", user, root, {}) == checkout
    installed = make_python(user / "backend-venv")
    assert find_python("", user, root, {}) == installed
    assert find_python("", None, root, {}) == checkout
    assert find_python(" /opt/python ", user, root, {}) == Path("/opt/python")
    assert find_python("/opt/python", user, root, {"TRELLIS_PYTHON": "/usr/bin/p"}) == Path("/usr/bin/p")
    for nowhere in ("~nobody-there/python", "x" * 5000):  # the fault names it where it is started
        assert find_python(nowhere, user, root, {}) == Path(nowhere)


def test_a_relative_path_is_that_of_the_folder_that_blender_runs_in(tmp_path, monkeypatch):
    """The backend starts in another one. A name without a folder is one of PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    python, root = make_python(tmp_path / "mine"), tmp_path / "root"
    assert find_python("", None, root, {"TRELLIS_PYTHON": "mine"}) == python
    assert find_python("", None, root, {"TRELLIS_PYTHON": "mine/bin/python"}) == tmp_path / "mine/bin/python"
    assert find_python("./none", None, root, {}) == tmp_path / "none"
    assert find_python("", None, root, {"TRELLIS_PYTHON": "~/p"}) == tmp_path / "home" / "p"
    assert find_python("", None, root, {"TRELLIS_PYTHON": "python3.11"}) == Path("python3.11")


def test_an_environments_folder_stands_for_its_interpreter(tmp_path):
    python = make_python(tmp_path / "mine")
    assert find_python(str(tmp_path / "mine"), None, tmp_path, {}) == python


def test_an_unfinished_installation_is_not_found(tmp_path):
    make_python(tmp_path / "backend-venv.new")
    assert find_python("", tmp_path, tmp_path / "root", {}) is None


# --- installing


@pytest.mark.parametrize("extension", ["uv", "pip"], indirect=True)
def test_install_verify_and_upgrade(extension, tmp_path, monkeypatch):
    seen: list[tuple[float, str]] = []
    user = tmp_path / "user folder"
    python = install(user, extension, CPU, lambda *progress: seen.append(progress))
    assert python == find_python("", user, extension, {})
    assert "torch 1.0" in works(python, extension)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert any("torch" in words or "2 packages" in words for _, words in seen)

    with monkeypatch.context() as patch:
        patch.setattr(backend_install, "_build", None)  # what is right is left alone
        assert install(user, extension, CPU, quiet) == python

    assert not is_outdated(python, user, extension)
    write_lock(extension, "2.0")
    assert is_outdated(python, user, extension)
    assert not is_outdated(Path(sys.executable), user, extension)  # somebody's own
    assert works(python, extension) == (
        "Its packages are of another version of the add-on (torch 1.0 instead of 2.0): repair it."
    )
    assert "torch 2.0" in works(install(user, extension, CPU, quiet), extension)
    assert not is_outdated(python, user, extension)
    assert {path.name for path in user.iterdir()} <= {"backend-venv", "install.log", "uv-cache"}
    assert "transformers" in (user / "install.log").read_text()


def test_a_failed_installation_leaves_the_earlier_one(extension, tmp_path):
    python = install(tmp_path, extension, CPU, quiet)
    for torch, reason in (("9.9", r"torch==9\.9"), ("3.0", "libcudart is missing")):
        write_lock(extension, torch)
        with pytest.raises(InstallError, match=reason) as fault:
            install(tmp_path, extension, CPU, quiet)
        assert fault.value.log or reason == "libcudart is missing"
        write_lock(extension, "1.0")
        assert "torch 1.0" in works(python, extension)


def test_a_broken_environment_is_told_and_made_again(extension, tmp_path):
    python = install(tmp_path, extension, CPU, quiet)
    (module,) = python.parent.parent.rglob("torch.py")
    module.unlink()
    assert works(python, extension) == (
        "Its packages cannot be imported (torch: ModuleNotFoundError: No module named 'torch'): repair it."
    )
    assert install(tmp_path, extension, CPU, quiet) == python
    assert "torch 1.0" in works(python, extension)
    shutil.rmtree(python.parent.parent / "lib")
    assert "torch 1.0" in works(install(tmp_path, extension, CPU, quiet), extension)


def test_a_cancelled_installation_is_taken_up_again(extension, tmp_path):
    cancel = threading.Event()

    def stop_late(fraction: float, words: str) -> None:
        if fraction > 0.02:
            cancel.set()

    with pytest.raises(InstallCancelled):
        install(tmp_path, extension, CPU, stop_late, cancel)
    assert find_python("", tmp_path, extension, {}) is None
    assert "torch 1.0" in works(install(tmp_path, extension, CPU, quiet), extension)


def test_removing_gives_all_of_it_back(extension, tmp_path):
    user = tmp_path / "user"
    install(user, extension, CPU, quiet)
    (user / "models").mkdir()
    (user / "backend-venv" / "large").write_bytes(bytes(1 << 20))
    taken = removable_bytes(user)
    assert taken > 1 << 20
    assert remove(user) == taken
    assert {path.name for path in user.iterdir()} == {"models", "install.log"}
    assert removable_bytes(user) == 0


@pytest.fixture
def installed(tmp_path) -> Path:
    """A user's folder with an environment and what was fetched for it, 2 MB each."""
    for name in ("backend-venv", "uv-cache", "python"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(2 << 20))
    return tmp_path


def test_an_environment_that_is_in_use_stays_whole(installed, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Access is denied")

    with monkeypatch.context() as windows:
        windows.setattr("blender_trellis.install.backend_install.os.replace", refuse)
        with pytest.raises(InstallError) as told:
            remove(installed)
    place = installed / "backend-venv"
    assert str(told.value).startswith(f"{place} cannot be removed (Access is denied), and 6 MB of disk stay")
    assert (place / "file").is_file() and (installed / "python" / "file").is_file()
    assert remove(installed) == 6 << 20 and not has_leftovers(installed)


def test_a_removal_goes_on_after_what_cannot_be_deleted_and_names_it(installed, monkeypatch):
    rmtree = shutil.rmtree

    def refuse(folder, ignore_errors=False):
        if folder.name != "uv-cache":
            rmtree(folder, ignore_errors)
        elif not ignore_errors:
            raise PermissionError(13, "Access is denied")

    with monkeypatch.context() as windows:
        windows.setattr("blender_trellis.install.backend_install.shutil.rmtree", refuse)
        with pytest.raises(
            InstallError, match=r"uv-cache cannot be removed \(Access is denied\), and 2 MB of"
        ):
            remove(installed)
    assert [path.name for path in installed.iterdir()] == ["uv-cache"]
    assert remove(installed) == 2 << 20


@pytest.mark.parametrize("extension", ["uv", "pip"], indirect=True)
def test_a_folder_of_wheels_serves_without_any_index(extension, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    wheels = (extension / "store").rename(extension / "wheels, all of them")
    with pytest.raises(InstallError, match="torch"):
        install(tmp_path / "user", extension, CPU, quiet)
    wanted = Wanted("cpu", sys.executable, str(wheels))
    assert "torch 1.0" in works(install(tmp_path / "user", extension, wanted, quiet), extension)


def test_cancel_takes_effect_at_once_and_leaves_nothing_that_is_found(extension, tmp_path):
    cancel = threading.Event()
    with pytest.raises(InstallCancelled):
        install(tmp_path, extension, CPU, lambda *progress: cancel.set(), cancel)
    assert find_python("", tmp_path, extension, {}) is None


def test_a_log_that_cannot_be_written_is_a_sentence_with_its_reason(extension, tmp_path):
    (tmp_path / "user" / "install.log").mkdir(parents=True)
    with pytest.raises(InstallError, match=r"^The log .*install.log cannot be written \(Is a directory\): "):
        install(tmp_path / "user", extension, CPU, quiet)
    if (full := Path("/dev/full")).exists():
        with pytest.raises(InstallError, match="No space left on device"):
            run([sys.executable, "-c", "print(1)"], print, threading.Event(), log=full)


def test_a_silent_program_can_be_cancelled():
    cancel = threading.Event()
    silent = "import time; print('from now on', flush=True); time.sleep(1000)"
    with pytest.raises(InstallCancelled):
        run([sys.executable, "-c", silent], lambda line: cancel.set(), cancel)


def test_too_little_disk_is_said_before_anything_is_written(extension, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1 << 30))
    with pytest.raises(InstallError, match=r"1\.0 GB free and the backend needs 3\.0 GB"):
        install(tmp_path / "user", extension, CPU, quiet)
    assert not (tmp_path / "user").exists()


@pytest.mark.parametrize("extension", ["pip"], indirect=True)
def test_pythons_that_cannot_make_environments(extension, tmp_path):
    """Debian's without ensurepip, one that is too old, one that is not there."""
    for code, words in ((1, "python3-venv"), (3, "older than 3.11")):
        python = tmp_path / f"python{code}"
        python.write_text(f"#!/bin/sh\nexit {code}\n")
        python.chmod(0o755)
        with pytest.raises(InstallError, match=words):
            install(tmp_path, extension, Wanted("cpu", str(python)), quiet)
    with pytest.raises(InstallError, match="There is no Python"):
        install(tmp_path, extension, Wanted("cpu", str(tmp_path / "nowhere")), quiet)
    with pytest.raises(InstallError, match="Only uv can fetch a Python"):
        install(tmp_path, extension, Wanted("cpu", ""), quiet)


def test_uv_makes_the_environment_where_python_cannot(extension, tmp_path):
    """A Python without venv and ensurepip, as Debian's."""
    home = tmp_path / "bare"
    subprocess.run([str(UV), "venv", "-q", "--no-project", "--python", sys.executable, str(home)], check=True)
    bare = interpreter(home)
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "sitecustomize.py").write_text(
        "import sys; sys.modules['venv'] = sys.modules['ensurepip'] = None\n"
    )
    assert subprocess.run([str(bare), "-c", "import venv"], capture_output=True).returncode
    python = install(tmp_path / "user", extension, Wanted("cpu", str(bare)), quiet)
    assert "torch 1.0" in works(python, extension)


def test_an_unknown_accelerator_is_named(extension, tmp_path):
    with pytest.raises(InstallError, match='"abacus"'):
        install(tmp_path, extension, Wanted("abacus"), quiet)


# --- which build of torch


def torch_commands(
    monkeypatch, system: str, accelerator: str, own_sources: bool, works: bool = True
) -> list[str]:
    """The programs that fetch torch on a machine of that kind, as text."""
    commands: list[str] = []

    def record(command, on_line, cancel) -> None:
        commands.append(" ".join(command))
        if not works:
            raise InstallError("no route to the index")

    monkeypatch.setattr(python_environment, "run", record)
    monkeypatch.setattr(python_environment, "_has_own_sources", lambda python: own_sources)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    lock = Path(__file__).resolve().parents[2] / "backend" / "requirements" / f"{accelerator}.txt"
    environment = Environment(folder=Path("env"), locks=(lock,), accelerator=accelerator)
    python_environment._install_torch_build(environment, "python", quiet)
    return commands


@pytest.mark.parametrize(
    ("system", "accelerator", "backend"), [("Linux", "cpu", "cpu"), ("Windows", "cuda", "auto")]
)
def test_uv_fetches_the_build_that_pip_would_not(monkeypatch, system, accelerator, backend):
    (command,) = torch_commands(monkeypatch, system, accelerator, own_sources=False)
    assert command.startswith("/bin/uv pip install --python python")
    assert f"--torch-backend={backend}" in command and "torch==2." in command


@pytest.mark.parametrize(
    ("system", "accelerator", "own_sources"),
    [("Linux", "cuda", False), ("Windows", "cpu", False), ("Darwin", "cpu", False), ("Linux", "cpu", True)],
)
def test_pip_alone_where_its_build_is_the_right_one(monkeypatch, system, accelerator, own_sources):
    assert not torch_commands(monkeypatch, system, accelerator, own_sources)


def test_without_the_small_build_the_processor_takes_the_large_one(monkeypatch):
    assert torch_commands(monkeypatch, "Linux", "cpu", own_sources=False, works=False)
    with pytest.raises(InstallError, match="no route"):
        torch_commands(monkeypatch, "Windows", "cuda", own_sources=False, works=False)


@pytest.mark.parametrize("extension", ["uv", "pip"], indirect=True)
def test_an_index_for_torch_goes_before_everything(extension, tmp_path, monkeypatch):
    other = write_wheel(tmp_path / "elsewhere", "torch", "1.0+other")
    monkeypatch.setenv("TORCH_INDEX", write_index(tmp_path / "index", other))
    python = install(tmp_path / "user", extension, CPU, quiet)
    assert "torch 1.0+other" in works(python, extension)


# --- the parts


def test_interpreters_without_the_packages_are_not_called_installed(tmp_path):
    write_lock(tmp_path, "1.0")
    lock = lock_of(tmp_path, "cpu")
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True)
    health = check(interpreter(empty), lock)
    assert not health.is_right
    assert health.sentence == "2 of its 2 packages are missing (torch, transformers): repair it."
    assert "does not start" in check(tmp_path / "nowhere", lock).sentence
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho not a Python >&2; exit 7\n")
    liar.chmod(0o755)
    assert "(not a Python)" in check(liar, lock).sentence


def test_what_is_tried_does_not_compile_for_a_minute(tmp_path, monkeypatch):
    """The packages of this environment, as if they were new."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "compiled"))
    health = check(Path(sys.executable), lock_of(CHECKOUT, "cpu"), installed_here=False)
    assert health.is_right, health.sentence
    assert not (tmp_path / "compiled").exists()


def test_blenders_variables_do_not_reach_pip_but_its_settings_do():
    given = {
        "PYTHONHOME": "/blender",
        "VIRTUAL_ENV": "/v",
        "PIP_TARGET": "/t",
        "PIP_PROXY": "p",
        "PATH": "/bin",
    }
    kept = scrubbed(given)
    assert kept["PIP_PROXY"] == "p" and kept["PATH"] == "/bin"
    assert not {"PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET"} & kept.keys()


def test_progress_follows_pips_lines():
    seen: list[tuple[float, str]] = []
    pip = PipProgress(2, lambda *progress: seen.append(progress))
    for line in (
        "Collecting torch==2.13.0 (from -r cpu.txt (line 60))",
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (190.2 MB)",
        "Requirement already satisfied: numpy==2.4.6 in ./lib",
        r"Processing c:\store\colorama-0.4.6-py2.py3-none-any.whl (from -r cpu.txt (line 9))",
        "Installing collected packages: torch, numpy",
    ):
        pip.line(line)
    assert [words for _, words in seen] == [
        "1/2 torch",
        "1/2 downloading torch (190.2 MB)",
        "2/2 numpy",
        "2/2 colorama",
        "Installing 2 packages",
    ]
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)


def test_a_full_disk_is_one_sentence():
    complaint = (
        "print('ERROR: Could not install packages: [Errno 28] No space left on device'); raise SystemExit(1)"
    )
    with pytest.raises(InstallError, match="disk is full"):
        run([sys.executable, "-c", complaint], lambda line: None, threading.Event())


def test_packages_for_other_pythons_name_the_remedy():
    complaint = (
        "import sys; print('error: No solution found when resolving dependencies'); print('  cause: Because "
        "xatlas==0.0.11 has no wheels with a matching Python ABI tag (e.g., `cp314`)'); sys.exit(1)"
    )
    with pytest.raises(InstallError, match="choose Python of Its Own"):
        run([sys.executable, "-c", complaint], lambda line: None, threading.Event())


def test_every_accelerator_has_a_lock():
    root = Path(__file__).resolve().parent.parent.parent
    for accelerator in python_environment.ACCELERATORS:
        assert lock_of(root, accelerator).is_file()
