"""The generate command on real files, good and bad: exit codes, sentences, nothing half-written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh
from PIL import Image

from backend.generate import main
from backend.representations.gaussians import read_ply


def generate(capsys, *argv: object) -> tuple[int, dict]:
    code = main([*map(str, argv), "--json", "--device", "cpu", "--precision", "fp32", "--steps", "2"])
    return code, json.loads(capsys.readouterr().out)


def test_a_picture_becomes_files_that_others_can_read(tiny_model, picture, tmp_path, capsys):
    output = tmp_path / "out"
    formats = "mesh,gaussian,radiance_field"
    code, report = generate(capsys, picture, "--model", tiny_model, "--output", output, "--formats", formats)
    assert code == 0 and report["made"] == 1
    assert sorted(path.name for path in output.iterdir()) == [
        "disc.glb",
        "disc.ply",
        "disc.radiance_field.safetensors",
    ]
    scene = trimesh.load(output / "disc.glb")
    assert sum(len(one.faces) for one in scene.geometry.values()) > 100
    assert len(read_ply(output / "disc.ply")) > 100


def bad_pictures(folder: Path, good: Path) -> dict[str, Path]:
    """One file for every fault that users have."""
    folder.mkdir()
    whole = good.read_bytes()
    faults = {
        "text": b"this is no picture",
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
    }
    for name, data in faults.items():
        (folder / f"{name}.png").write_bytes(data)
    Image.new("RGBA", (1, 1), (255, 0, 0, 255)).save(folder / "speck.png")
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(folder / "clear.png")
    Image.new("1", (20000, 20000)).save(folder / "huge.png")
    paths = {path.stem: path for path in folder.iterdir()}
    return paths | {"absent": folder / "absent.png", "folder": folder}


def test_a_bad_picture_never_stops_the_next(tiny_model, picture, tmp_path, capsys):
    bad = bad_pictures(tmp_path / "bad", picture)
    output = tmp_path / "out"
    code, report = generate(
        capsys, *bad.values(), picture, "--model", tiny_model, "--output", output, "--formats", "gaussian"
    )
    assert code == 1 and report["made"] == 1 and report["of"] == len(bad) + 1
    for outcome in report["objects"][:-1]:
        assert outcome["error"].endswith(".") and "\n" not in outcome["error"], outcome
        assert "fault" not in outcome["error"], outcome  # a sentence for the user, not a bug of ours
    assert [path.name for path in output.iterdir()] == ["disc.ply"]


def test_nothing_made_is_exit_code_two(tiny_model, tmp_path, capsys):
    code, report = generate(
        capsys, tmp_path / "absent.png", "--model", tiny_model, "--output", tmp_path / "out"
    )
    assert code == 2 and report["made"] == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--model", "no-such-model"), "no model"),
        (("--formats", "mesh,obj"), "obj"),
        (("--formats", ""), "format"),
    ],
)
def test_bad_options_are_one_sentence(tiny_model, picture, tmp_path, capsys, options, word):
    argv = (picture, "--output", tmp_path / "out", "--model", tiny_model, *options)
    code, report = generate(capsys, *argv)
    assert code == 2 and word in report["objects"][0]["error"]


def test_the_same_name_twice_does_not_overwrite(tiny_model, picture, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "disc.png").write_bytes(picture.read_bytes())
    argv = (
        picture,
        other / "disc.png",
        "--model",
        tiny_model,
        "--output",
        tmp_path / "out",
        "--formats",
        "gaussian",
    )
    assert generate(capsys, *argv)[0] == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["disc.ply", "disc_2.ply"]


def test_an_output_that_is_a_file_is_one_sentence(tiny_model, picture, tmp_path, capsys):
    assert main([str(picture), "--model", str(tiny_model), "--output", str(picture)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_nothing_half_written(tiny_model, picture, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        command = [
            sys.executable,
            "-m",
            "backend",
            "generate",
            picture,
            "--model",
            tiny_model,
            "--output",
            disk,
        ]
        done = subprocess.run(
            [*command, "--formats", "gaussian", "--json", "--device", "cpu", "--precision", "fp32"],
            capture_output=True,
            text=True,
            timeout=900,
        )
        report = json.loads(done.stdout)
        assert done.returncode == 2 and "full" in report["objects"][0]["error"].lower()
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
