"""The extension's zip, built and validated by Blender's own program."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from scripts import build_extension
from tests.tiny_wheels import write_wheel

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "build_extension.py"
LARGEST_ZIP = 60e6


def build(output: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, str(SCRIPT), "--output", str(output), *options]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository of the extension's zip."""
    output = tmp_path_factory.mktemp("dist")
    result = build(output, "--repository")
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"trellis-\d+\.\d+\.\d+\.zip: \d+\.\d MB, \d+ files", result.stdout)
    return output


@pytest.fixture(scope="module")
def names(repository) -> list[str]:
    """What lies in the zip."""
    (archive,) = repository.glob("*.zip")
    with zipfile.ZipFile(archive) as opened:
        wheels = [entry.compress_size for entry in opened.infolist() if entry.filename.endswith(".whl")]
        assert archive.stat().st_size - sum(wheels) < LARGEST_ZIP
        return opened.namelist()


def test_the_repository_lists_the_zip(repository):
    (archive,) = repository.glob("*.zip")
    assert {path.name for path in repository.iterdir()} == {archive.name, "index.json", "index.html"}
    (entry,) = json.loads((repository / "index.json").read_text())["data"]
    assert (entry["id"], entry["archive_url"]) == ("trellis", f"./{archive.name}")
    assert entry["archive_hash"] == f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"


def test_the_zip_holds_what_an_artist_needs(names):
    wanted = (
        "blender_manifest.toml",
        "__init__.py",
        "LICENSE",
        "blender_trellis/__init__.py",
        "blender_trellis/install/python_environment.py",
        "backend/__main__.py",
        "backend/requirements/cpu.txt",
        "backend/requirements/cuda.txt",
        "backend/weights/starter/pipeline.json",
        "scripts/batch.py",
        "scripts/flamenco/trellis_pictures.js",
    )
    assert not set(wanted) - set(names)
    assert any(re.fullmatch(r"backend/weights/starter/ckpts/.*\.safetensors", name) for name in names)
    assert any(re.fullmatch(r"backend/goldens/.*\.safetensors", name) for name in names)


def test_the_zip_holds_nothing_that_only_developers_need(names):
    unwanted = re.compile(
        r"(tests|docs|dist|out|runs|build)/|\.|.*(__pycache__|\.pyc$|/(training|evaluation)/)|Makefile|pyproject"
        r"|README\.md|scripts/.*(pictures|screenshots|_sheet|_table|setup|demo|fetch_wheels)\.py"
    )
    assert not [name for name in names if unwanted.match(name)]


def test_a_failed_build_leaves_nothing(tmp_path):
    result = build(tmp_path, BLENDER="/bin/false")
    assert result.returncode == 1
    assert "failed" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_checkout(tmp_path, monkeypatch) -> Path:
    """A repository of few files with two wheels, as the builder's source."""
    root = tmp_path / "checkout"
    root.mkdir()
    shutil.copy(ROOT / "blender_manifest.toml", root)
    for name in ("__init__.py", "tests/test_all.py", ".secret"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
    for wheel in (LINUX, MAC):
        write_wheel(root / "wheels", "uv", "0.13.8").rename(root / "wheels" / wheel)
    monkeypatch.setattr(build_extension, "ROOT", root)
    monkeypatch.setattr(sys, "argv", ["build_extension", "--output", str(tmp_path / "dist")])
    return root


LINUX = "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
MAC = "uv-0.13.8-py3-none-macosx_11_0_arm64.whl"


def manifest_of(archive: Path) -> dict:
    """What a zip's manifest says."""
    with zipfile.ZipFile(archive) as opened:
        return tomllib.loads(opened.read("blender_manifest.toml").decode())


def test_fetched_wheels_go_into_the_zip_and_its_manifest(small_checkout, tmp_path):
    assert build_extension.main() == 0
    (archive,) = (tmp_path / "dist").iterdir()
    assert set(manifest_of(archive)["wheels"]) == {f"./wheels/{LINUX}", f"./wheels/{MAC}"}
    assert "platforms" not in manifest_of(archive)  # other machines may install it too
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist())
    assert {f"wheels/{LINUX}", f"wheels/{MAC}", "__init__.py"} <= names
    assert not {name for name in names if name.startswith((".", "tests"))}


def test_each_platform_gets_its_own_wheel(small_checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--split-platforms"])
    assert build_extension.main() == 0
    archives = sorted((tmp_path / "dist").iterdir())
    assert [archive.stem.rpartition("-")[2] for archive in archives] == ["linux_x64", "macos_arm64"]
    for archive, platform, wheel in zip(archives, ("linux-x64", "macos-arm64"), (LINUX, MAC), strict=True):
        assert manifest_of(archive)["build"]["generated"]["platforms"] == [platform]
        with zipfile.ZipFile(archive) as opened:
            assert [name for name in opened.namelist() if name.endswith(".whl")] == [f"wheels/{wheel}"]


def test_without_wheels_there_is_nothing_to_split_by(small_checkout, monkeypatch, capsys):
    shutil.rmtree(small_checkout / "wheels")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--split-platforms"])
    assert build_extension.main() == 2
    assert "fetch_wheels.py" in capsys.readouterr().err
