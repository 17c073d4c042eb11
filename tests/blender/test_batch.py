"""scripts/batch.py and scripts/demo.py as people run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blender_trellis.batch.latents_file import read_latents
from blender_trellis.protocol.pictures import PNG
from scripts import batch

ROOT = Path(__file__).resolve().parents[2]
REPORTS = {"report.json", "report.jsonl"}


def _run(script: str, *arguments, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / script, *arguments]
    environ = os.environ | variables
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, cwd=ROOT, env=environ
    )


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()

    def make(**named: bytes):
        for name, data in named.items():
            (folder / f"{name}.png").write_bytes(PNG + data)
        return folder

    return make


def test_a_failed_file_never_stops_the_next(fake_python, pictures, tmp_path):
    folder = pictures(a=b"ball", b=b"die", c=b"bad", d=b"ball")
    for name in ("notes.txt", "._a.png", ".hidden.png", "Thumbs.db"):
        (folder / name).write_text("no picture")
    done = _run("batch.py", "--input", folder, "--output", tmp_path / "out", "--seed", "9")
    assert done.returncode == 1, done.stderr
    made = {f"{name}.{suffix}" for name in "ad" for suffix in ("blend", "glb", "ply")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == made | REPORTS
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["made"], report["of"]) == (2, 4)
    errors = {picture["name"]: picture["error"] for picture in report["pictures"]}
    assert not errors["a"] and not errors["d"]
    assert "stopped" in errors["b"] and errors["c"] == "c.png is no picture."
    assert {Path(one["path"]).name: one["reason"] for one in report["skipped"]} == {
        "._a.png": "AppleDouble file, which accompanies another file",
        ".hidden.png": "hidden",
        "Thumbs.db": "not the suffix of a picture (.db)",
        "notes.txt": "not the suffix of a picture (.txt)",
    }
    assert "2 of 4 made." in done.stdout and done.stdout.count("skipped ") == 4


def test_every_suffix_and_every_name_is_taken(fake_python, pictures, tmp_path):
    """Names that the output's encoding lacks, that are no text, and that differ only by case or form."""
    folder = pictures()
    names = ["\u6905.JFIF", "Toy.gif", "toy.Bmp", "e\u0301.tif", "\u00e9.WEBP", os.fsdecode(b"caf\xe9.avif")]
    for name in names:
        (folder / name).write_bytes(PNG + b"ball")
    done = _run(
        "batch.py", "--input", folder, "--output", tmp_path / "out", "--glb", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "6 of 6 made." in done.stdout and "\\u6905.glb" in done.stdout
    made = {path.stem for path in (tmp_path / "out").glob("*.glb")}
    assert made == {"\u6905", "Toy", "toy_bmp", "e\u0301", "\u00e9_webp", os.fsdecode(b"caf\xe9")}
    report = json.loads((tmp_path / "out" / "report.json").read_bytes().decode("utf-8"))
    assert {Path(path).stem for one in report["pictures"] for path in one["files"]} == made


def test_what_is_no_picture_file_is_refused_at_once(fake_python, pictures, tmp_path):
    folder = pictures()
    os.mkfifo(folder / "pipe.png")
    with open(folder / "endless.png", "wb") as file:
        file.truncate(3 << 30)
    inputs = (folder / "pipe.png", folder / "endless.png", "/dev/zero", folder / "absent.png")
    assert _run("batch.py", "--input", *inputs, "--output", tmp_path / "out").returncode == 2
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    words = {
        "pipe": "device or pipe",
        "endless": "larger than",
        "zero": "device or pipe",
        "absent": "not exist",
    }
    assert [words[one["name"]] in one["error"] for one in report["pictures"]] == [True] * 4


def test_nobody_reads_the_table(fake_python, pictures, tmp_path):
    folder = pictures(good=b"ball", broken=b"bad")
    command = [sys.executable, ROOT / "scripts" / "batch.py", "--input", folder, "--ply"]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(
            [*command, "--output", tmp_path / "out"], stdout=closed, stderr=closed, timeout=300
        )
    assert done.returncode == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.ply"} | REPORTS


def test_a_lenient_batch_fails_only_where_it_cannot_report(fake_python, pictures, tmp_path):
    words = ("--input", pictures(a=b"bad"), "--output", tmp_path / "out", "--ply", "--lenient")
    done = _run("batch.py", *words)
    assert done.returncode == 0 and "0 of 1 made." in done.stdout
    assert json.loads((tmp_path / "out" / "report.json").read_text())["made"] == 0
    (tmp_path / "out" / "report.json").unlink()
    (tmp_path / "out" / "report.json").mkdir()
    assert _run("batch.py", *words).returncode == 2


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
        (("--input", "FILE", "--output", "OUT", "--seed", "-1"), "argument --seed: "),
        (("--input", "FILE", "--output", "OUT", "--steps", "0"), "argument --steps: "),
        (("--input", "FILE", "--output", "OUT", "--guidance", "nan"), "argument --guidance: "),
        (("--input", "FILE", "--output", "OUT", "--formats", "obj"), "argument --formats: "),
        (("--input", "FILE", "--output", "OUT", "--seeds", "0"), "argument --seeds: "),
        (("--input", "FILE", "--output", "OUT", "--ray", ""), "argument --ray: the address is empty"),
        (("--input", "FILE", "--output", "OUT", "--vary", "many"), "argument --vary: "),
        (("--input", "FILE", "--output", "OUT", "--vary", "1", "--strength", "0"), "argument --strength: "),
        (("--input", "FILE", "--output", "OUT", "--strength", "1"), "say how many with --vary"),
        (("--jobs", "FILE", "--output", "OUT", "--seeds", "2"), "go with --input"),
        (("--jobs", "FILE", "--input", "FILE", "--output", "OUT"), "not allowed with"),
        (("--input", "FILE", "--output", "OUT", "--formats", "gaussian,glb"), "Nothing would be written"),
        (("--input", "x" * 5000, "--output", "OUT"), "File name too long"),
        (("--input", "FILE", "--output", "x" * 5000), "cannot be written"),
        (("--input", "FILE", "--output", "OUT", "--asset-library", "x" * 5000), "cannot be written"),
        (("--jobs", "x" * 5000, "--output", "OUT"), "cannot be read"),
    ],
)
def test_arguments_that_make_no_sense(fake_python, tmp_path, arguments, words):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_bytes(PNG + b"ball")
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


def test_paths_are_those_of_the_folder_that_one_is_in(fake_python, pictures, tmp_path, monkeypatch):
    """And the backend needs no home to write to."""
    monkeypatch.delenv("TRELLIS_PYTHON")
    folder = pictures(a=b"ball")
    (folder / "tuned").mkdir()
    (folder / "tuned" / "pipeline.json").write_text("{}")
    (folder / "jobs.jsonl").write_text(
        '{"do": "generate", "picture": "a.png", "model": "tuned"}\n{"do": "generate", "picture": "a.png"}'
    )
    words = ["--jobs", "pictures/jobs.jsonl", "--output", "out", "--latents"]
    words += ["--python", "./python", "--models", ".", "--model", "pictures/tuned"]
    command = [sys.executable, str(ROOT / "scripts" / "batch.py"), *words]
    environ = os.environ | {"HOME": "/proc/nobody"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stderr
    models = [read_latents(path).model for path in sorted((tmp_path / "out").glob("*.safetensors"))]
    assert models == 2 * [str(folder / "tuned")]
    options = batch.parser().parse_args(["--output", "out", *words])
    assert options.models == Path.cwd() and batch.program("python3") == "python3"


def test_demo_makes_all_four_files(fake_python, pictures, tmp_path):
    done = _run("demo.py", "--image", pictures(crate=b"ball") / "crate.png", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"crate.blend", "crate.glb", "crate.ply", "preview.png"} | REPORTS
    assert "Shaping" in done.stderr and "Fra:" not in done.stdout
