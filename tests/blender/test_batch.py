"""scripts/batch.py and scripts/demo.py as people run them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _run(script: str, *arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / script, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()

    def make(**named: bytes):
        for name, data in named.items():
            (folder / f"{name}.png").write_bytes(data)
        return folder

    return make


def test_a_failed_file_never_stops_the_next(fake_python, pictures, tmp_path):
    folder = pictures(a=b"ball", b=b"die", c=b"bad", d=b"ball")
    (folder / "notes.txt").write_text("no picture")
    done = _run("batch.py", "--input", folder, "--output", tmp_path / "out", "--seed", "9")
    assert done.returncode == 1, done.stderr
    made = {f"{name}.{suffix}" for name in "ad" for suffix in ("blend", "glb", "ply")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == made | {"report.json"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["made"], report["of"]) == (2, 4)
    errors = {picture["name"]: picture["error"] for picture in report["pictures"]}
    assert not errors["a"] and not errors["d"]
    assert "stopped" in errors["b"] and errors["c"] == "c.png is no picture."
    assert "2 of 4 made." in done.stdout


def test_all_and_none(fake_python, pictures, tmp_path):
    folder = pictures(good=b"ball", broken=b"bad")
    out = ("--output", tmp_path / "out", "--ply")
    assert _run("batch.py", "--input", folder / "good.png", *out).returncode == 0
    assert [path.name for path in (tmp_path / "out").glob("good*")] == ["good.ply"]
    assert _run("batch.py", "--input", folder / "broken.png", folder / "missing.png", *out).returncode == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--input", "EMPTY", "--output", "OUT"), "no picture"),
        (("--input", "EMPTY", "--output", "FILE/out"), "no picture"),
        (("--input", "FILE", "--output", "FILE/out"), "cannot be written"),
        (("--input", "FILE", "--output", "OUT", "--wrong"), "unrecognized arguments: --wrong"),
        (("--output", "OUT"), "--input"),
        (("--input", "FILE", "--output", "OUT", "--seed", "many"), "invalid int value"),
    ],
)
def test_arguments_that_make_no_sense(fake_python, tmp_path, arguments, words):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_bytes(b"ball")
    names = {"EMPTY": tmp_path / "EMPTY", "FILE": tmp_path / "FILE", "OUT": tmp_path / "OUT"}
    done = _run(
        "batch.py", *(names.get(text, str(tmp_path / text) if "/" in text else text) for text in arguments)
    )
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_no_backend_is_a_sentence(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("TRELLIS_PYTHON", str(tmp_path / "no-python"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    done = _run("batch.py", "--input", pictures(a=b"ball"), "--output", tmp_path / "out")
    assert done.returncode == 2 and "no-python" in done.stdout + done.stderr


def test_demo_makes_all_four_files(fake_python, pictures, tmp_path):
    done = _run("demo.py", "--image", pictures(crate=b"ball") / "crate.png", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"crate.blend", "crate.glb", "crate.ply", "preview.png", "report.json"}
    assert "Shaping" in done.stderr and "Fra:" not in done.stdout
