"""The extension's zip, built and validated by Blender's own program."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
    assert archive.stat().st_size < LARGEST_ZIP
    with zipfile.ZipFile(archive) as opened:
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


def test_the_zip_holds_nothing_of_the_workshop(names):
    workshop = re.compile(
        r"(tests|docs|dist|out|runs|build)/|\.|.*(__pycache__|\.pyc$|/(training|evaluation)/)|Makefile|pyproject"
    )
    assert not [name for name in names if workshop.match(name)]


def test_a_failed_build_leaves_nothing(tmp_path):
    result = build(tmp_path, BLENDER="/bin/false")
    assert result.returncode == 1
    assert "failed" in result.stderr
    assert not list(tmp_path.iterdir())
