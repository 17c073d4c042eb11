"""batch.py --asset-library: a folder that the Asset Browser opens, filled by real processes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_trellis.batch.library.catalogs import clean_path, with_catalog
from blender_trellis.protocol.pictures import PNG
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BATCH = [sys.executable, str(ROOT / "scripts" / "batch.py")]
CATALOGS = "blender_assets.cats.txt"


def start(*arguments) -> subprocess.Popen[str]:
    command = [*BATCH, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def run(*arguments) -> int:
    process = start(*arguments)
    said = process.communicate(timeout=300)
    assert "Traceback" not in said[1], said
    return process.returncode


@pytest.fixture
def chairs(tmp_path):
    folder = tmp_path / "chairs"
    folder.mkdir()
    for name in ("red", "blue"):
        (folder / f"{name}.png").write_bytes(PNG + name.encode())
    return folder


def assets(library: Path) -> list[str]:
    return sorted(path.name for path in library.glob("*.blend"))


def catalogs(library: Path) -> dict[str, str]:
    """UUID of each path, read as Blender does."""
    lines = (library / CATALOGS).read_text(encoding="utf-8").splitlines()
    version, *told = [line for line in lines if line and not line.startswith("#")]
    assert version == "VERSION 1"
    return {path: identity for identity, path, _ in (line.split(":") for line in told)}


def test_a_library_of_assets_with_pictures_tags_and_catalogue(fake_python, chairs, tmp_path):
    library, out = tmp_path / "library", tmp_path / "out"
    marks = ("--author", "Ann", "--license", "CC0-1.0", "--tags", "prop,wood", "old")
    assert run("--input", chairs, "--output", out, "--ply", "--asset-library", library, *marks) == 0
    assert assets(library) == ["blue.blend", "red.blend"]
    assert set(catalogs(library)) == {"TRELLIS", "TRELLIS/chairs"}
    report = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    assert [one["asset"] for one in report] == [str(library / "blue.blend"), str(library / "red.blend")]
    bpy.ops.wm.open_mainfile(filepath=str(library / "red.blend"))
    (asset,) = [one for one in bpy.data.collections if one.asset_data is not None]
    data = asset.asset_data
    assert (asset.name, data.author, data.license) == ("red", "Ann", "CC0-1.0")
    assert data.catalog_id == catalogs(library)["TRELLIS/chairs"]
    assert data.description.startswith("Made from red.png with starter, seed 1")
    assert {tag.name for tag in data.tags} == {"TRELLIS", "starter", "prop", "wood", "old"}
    pixels = np.array(asset.preview.image_pixels_float[:]).reshape(*asset.preview.image_size, 4)
    assert pixels.shape[0] == 256 and (pixels[..., 3] > 0).mean() > 0.2 and pixels[..., :3].std() > 0.05


def test_another_run_finds_its_assets_again_and_a_changed_one_stands_beside(fake_python, chairs, tmp_path):
    library, out = tmp_path / "library", tmp_path / "out"
    assert run("--input", chairs, "--output", out, "--blend") == 0
    resumed = ("--input", chairs, "--output", out, "--blend", "--resume", "--asset-library", library)
    made = {path: path.stat().st_mtime_ns for path in out.glob("*.blend")}
    assert run(*resumed) == 0
    assert assets(library) == ["blue.blend", "red.blend"]
    blue = (library / "blue.blend").stat().st_mtime_ns
    (library / "red.blend").unlink()
    assert run(*resumed) == 0
    assert assets(library) == ["blue.blend", "red.blend"]
    assert (library / "blue.blend").stat().st_mtime_ns == blue
    assert {path: path.stat().st_mtime_ns for path in made} == made  # nothing was made again for that
    assert run(*resumed[:-3], "--asset-library", library, "--seed", "5") == 0
    assert assets(library) == ["blue.blend", "blue_2.blend", "red.blend", "red_2.blend"]


def test_a_file_that_cannot_be_opened_is_made_again_and_the_batch_goes_on(fake_python, chairs, tmp_path):
    library, out = tmp_path / "library", tmp_path / "out"
    assert run("--input", chairs, "--output", out, "--blend") == 0
    (out / "blue.blend").write_bytes(b"BLENDER and no more")
    resumed = ("--input", chairs, "--output", out, "--blend", "--resume", "--asset-library", library)
    assert run(*resumed) == 0
    assert assets(library) == ["blue.blend", "red.blend"]
    bpy.ops.wm.open_mainfile(filepath=str(out / "blue.blend"))


def test_a_library_that_fails_costs_no_object(fake_python, chairs, tmp_path):
    library, out = tmp_path / "library", tmp_path / "out"
    (library / CATALOGS).mkdir(parents=True)
    resumed = ("--input", chairs, "--output", out, "--blend", "--resume", "--asset-library", library)
    assert run(*resumed) == 2
    made = {path: path.stat().st_mtime_ns for path in out.glob("*.blend")}
    report = json.loads((out / "report.json").read_text())
    assert len(made) == 2 and report["made"] == 0
    assert [(one["error"], "catalogues" in one["library_error"]) for one in report["pictures"]] == [
        ("", True),
        ("", True),
    ]
    assert run(*resumed) == 2 and assets(library) == []
    (library / CATALOGS).rmdir()
    assert run(*resumed) == 0 and assets(library) == ["blue.blend", "red.blend"]
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_two_batches_at_once_fill_one_library(fake_python, tmp_path):
    library = tmp_path / "library"
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            (tmp_path / folder / f"{name}.png").write_bytes(PNG + f"{folder} {name}".encode())
    batches = [
        start(
            "--input",
            tmp_path / folder,
            "--output",
            tmp_path / f"out_{folder}",
            "--ply",
            "--asset-library",
            library,
        )
        for folder in ("left", "right")
    ]
    for batch in batches:
        assert batch.communicate(timeout=300) and batch.returncode == 0
    assert assets(library) == sorted(f"{name}{end}.blend" for name in "abc" for end in ("", "_2"))
    assert set(catalogs(library)) == {"TRELLIS", "TRELLIS/left", "TRELLIS/right"}
    made = [
        json.loads(line)["asset"]
        for folder in ("left", "right")
        for line in (tmp_path / f"out_{folder}" / "report.jsonl").read_text().splitlines()
    ]
    assert len(set(made)) == 6


def test_after_a_kill_the_library_is_whole(fake_python, chairs, tmp_path):
    library, out = tmp_path / "library", tmp_path / "out"
    (chairs / "slow.png").write_bytes(PNG + b"steady")
    arguments = ("--input", chairs, "--output", out, "--ply", "--asset-library", library)
    batch = start(*arguments)
    wait_until(lambda: (library / "red.blend").exists())
    batch.kill()
    batch.communicate()
    with open(library / "trellis_assets.jsonl", "a") as index:
        index.write('{"file": "sl')  # a line that the kill has cut off
    assert run(*arguments, "--resume") == 0
    assert assets(library) == ["blue.blend", "red.blend", "slow.blend"]
    lines = (library / "trellis_assets.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in (*lines[:2], lines[-1])] == ["blue", "red", "slow"]


def test_catalogues_of_other_hands_are_kept(fake_python, chairs, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    own = "0b3a1f6e-0000-4000-8000-0123456789ab"
    text = f"# ours\n\nVERSION 1\n\n{own}:Props/Chairs:Chairs\n{own[:-1]}c:Sets:Sets"
    (library / CATALOGS).write_text(text, encoding="utf-8")
    (library / "red.blend").write_bytes(b"somebody else's file")
    arguments = ("--input", chairs, "--output", tmp_path / "out", "--ply", "--asset-library", library)
    assert run(*arguments, "--catalog", "Props/Chairs") == 0
    assert (library / CATALOGS).read_text(encoding="utf-8") == text  # the catalogue was there
    assert assets(library) == ["blue.blend", "red.blend", "red_2.blend"]
    assert (library / "red.blend").read_bytes() == b"somebody else's file"
    bpy.ops.wm.open_mainfile(filepath=str(library / "red_2.blend"))
    assert bpy.data.collections["red"].asset_data.catalog_id == own


def test_catalogue_texts():
    first, text = with_catalog("", "TRELLIS/old chairs")
    again, same = with_catalog(text, "TRELLIS/old chairs")
    assert (again, same) == (first, text) and re.fullmatch(r"[0-9a-f-]{36}", first)
    assert text.endswith(f"{first}:TRELLIS/old chairs:TRELLIS-old chairs\n") and text.count("VERSION 1") == 1
    other, longer = with_catalog(text, "TRELLIS/" + "界" * 60)
    assert longer.startswith(text) and other != first
    assert max(len(line.split(":")[2].encode()) for line in longer.splitlines() if line.count(":") == 2) <= 63
    assert clean_path(("A:b", " c\n", "", "\udce9")) == "A_b/c_/_"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--asset-library", "OUT"), "cannot be the output folder"),
        (("--asset-library", "FILE/library"), "cannot be written"),
        (("--author", "Ann"), "go with --asset-library"),
    ],
)
def test_libraries_that_cannot_be(fake_python, chairs, tmp_path, arguments, words):
    (tmp_path / "FILE").write_text("no folder")
    said = [text if text.startswith("-") or text == "Ann" else tmp_path / text for text in arguments]
    process = start("--input", chairs, "--output", tmp_path / "OUT", *said)
    assert words in process.communicate(timeout=300)[1] and process.returncode == 2
