"""The generate command on real files, good and bad: exit codes, sentences, nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh
from PIL import Image
from safetensors.torch import load_file, save_file

from backend.generate import formats, main
from backend.image.decode import FORMATS, open_picture
from backend.representations.gaussians import read_ply
from backend.vary import main as vary
from blender_trellis.protocol.pictures import PICTURE_SUFFIXES


def generate(capsys, *argv: object) -> tuple[int, dict]:
    """Made of random weights: such a mesh is left raw unless a test asks for more."""
    common = ["--json", "--device", "cpu", "--precision", "fp32", "--steps", "2"]
    code = main(["--finish", "raw", *map(str, argv), *common])
    return code, json.loads(capsys.readouterr().out)


def test_a_picture_and_a_sentence_at_once_are_refused(picture, tmp_path, capsys):
    assert main([str(picture), "--prompt", "a chair", "--output", str(tmp_path / "out")]) == 2
    assert "both a picture and a prompt" in capsys.readouterr().err


def test_a_picture_becomes_files_that_others_can_read(tiny_model, picture, tmp_path, capsys):
    output = tmp_path / "out"
    names = "glb,gaussian,radiance_field"
    code, report = generate(capsys, picture, "--model", tiny_model, "--output", output, "--formats", names)
    assert code == 0 and report["made"] == 1
    assert sorted(path.name for path in output.iterdir()) == [
        "disc.glb",
        "disc.latents.safetensors",
        "disc.ply",
        "disc.radiance_field.safetensors",
    ]
    scene = trimesh.load(output / "disc.glb")
    assert sum(len(one.faces) for one in scene.geometry.values()) > 100
    assert len(read_ply(output / "disc.ply")) > 100


def test_a_texture_on_request(tiny_model, picture, tmp_path, capsys):
    output = tmp_path / "out"
    code, report = generate(
        capsys,
        picture,
        "--model",
        tiny_model,
        "--output",
        output,
        "--texture",
        "256",
        "--encoding",
        "jpeg",
        "--formats",
        "mesh,gaussian",
    )
    assert code == 0, report
    assert b'"mimeType":"image/jpeg"' in (output / "disc.glb").read_bytes()
    (mesh,) = trimesh.load(output / "disc.glb").geometry.values()
    assert len(mesh.faces) > 100 and mesh.visual.uv.shape == (len(mesh.vertices), 2)
    assert mesh.visual.material.baseColorTexture.size == (256, 256)
    with pytest.raises(SystemExit):
        main([str(picture), "--output", str(output), "--texture", "1000"])
    assert "choose 512" in capsys.readouterr().err


def test_the_background_goes_as_one_says(tiny_model, tmp_path, capsys):
    """A clear frame of two pixels cuts nothing out by itself; who keeps it says that it does."""
    framed = Image.new("RGBA", (100, 100), (9, 9, 9, 0))
    framed.paste((200, 50, 50, 255), (2, 2, 98, 98))
    framed.save(path := tmp_path / "framed.png")
    options = ("--model", tiny_model, "--output", tmp_path / "out", "--formats", "gaussian")
    code, report = generate(capsys, path, *options)
    assert code == 2 and "nothing but a plain background" in report["objects"][0]["error"]
    code, report = generate(capsys, path, *options, "--background", "alpha")
    assert code == 0, report
    latents = tmp_path / "out" / "framed.latents.safetensors"
    asked = ["--picture", path, *options, "--device", "cpu", "--precision", "fp32", "--steps", "1"]
    assert vary([str(latents), *map(str, asked)]) == 2
    assert "nothing but a plain background" in capsys.readouterr().err
    assert vary([str(latents), *map(str, asked), "--background", "alpha"]) == 0


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
    os.mkfifo(folder / "pipe.png")
    with open(folder / "endless.png", "wb") as file:
        file.truncate(3 << 30)
    new = ("absent", "pipe", "endless")
    return paths | {name: folder / f"{name}.png" for name in new} | {"device": Path("/dev/zero")}


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
    assert [path.name for path in output.glob("*.ply")] == ["disc.ply"]


def test_nothing_made_is_exit_code_two(tiny_model, tmp_path, capsys):
    code, report = generate(
        capsys, tmp_path / "absent.png", "--model", tiny_model, "--output", tmp_path / "out"
    )
    assert code == 2 and report["made"] == 0


def test_a_model_that_is_not_there_is_one_sentence(picture, tmp_path, capsys):
    code, report = generate(capsys, picture, "--output", tmp_path / "out", "--model", "no-such-model")
    assert code == 2 and "no model" in report["objects"][0]["error"]


def test_a_format_has_the_name_of_what_is_made_and_that_of_its_file():
    assert formats("glb, ply") == formats("mesh,gaussian,glb") == ("mesh", "gaussian")
    assert formats("ply,radiance_field") == ("gaussian", "radiance_field")


@pytest.mark.parametrize(
    "option",
    [
        *(f"--steps={value}" for value in ("0", "-3", "1001", "2.5", "nan", "many")),
        *(f"--guidance={value}" for value in ("nan", "inf", "-inf", "-5", "1e9", "strong")),
        *(f"--seed={value}" for value in ("-1", str(1 << 63), "1.5", "")),
        *(f"--formats={value}" for value in ("mesh,obj", "", ",", "Mesh")),
        "--engine=steam",
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_done(picture, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as refused:
        main([str(picture), "--model", "no-such-model", "--output", str(tmp_path / "out"), option])
    assert refused.value.code == 2 and not (tmp_path / "out").exists()
    name = option.partition("=")[0]
    assert f"error: argument {name}: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_a_target_that_is_a_folder_is_refused_before_a_model_is_opened(picture, tmp_path, capsys, suffix):
    """There is no such model: a sentence on the target shows that nothing asked for it."""
    (tmp_path / "out" / f"disc{suffix}").mkdir(parents=True)
    code, report = generate(capsys, picture, "--model", "no-such-model", "--output", tmp_path / "out")
    assert code == 2 and f"disc{suffix} is not an ordinary file" in report["objects"][0]["error"]


def test_an_empty_folder_and_an_output_that_takes_no_files_are_refused(picture, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    cases = [("empty", "out", "no picture"), ("disc.png", "disc.png/out", "cannot be made")]
    folders = filter(os.path.exists, ("/proc", "/sys", "/dev/full"))
    for inputs, output, word in [*cases, *(("disc.png", folder, folder) for folder in folders)]:
        argv = [str(tmp_path / inputs), "--model", "no-such-model", "--output", str(tmp_path / output)]
        assert main(argv) == 2
        said = capsys.readouterr()
        assert word in said.err and not said.out


def test_a_folder_is_taken_with_all_its_pictures(tiny_model, picture, tmp_path, capsys):
    """What is no picture is told of and is no failure."""
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.open(picture).save(folder / "a.GIF")
    Image.open(picture).save(folder / "b.webp")
    for name in ("._a.GIF", ".hidden.png", "Thumbs.db", "desktop.ini", "notes.txt"):
        (folder / name).write_bytes(b"no picture")
    (folder / "__MACOSX").mkdir()
    options = ("--model", tiny_model, "--output", tmp_path / "out", "--formats", "gaussian")
    code, report = generate(capsys, folder, *options)
    assert code == 0 and [one["name"] for one in report["objects"]] == ["a", "b"]
    reasons = {Path(one["path"]).name: one["reason"] for one in report["skipped"]}
    assert list(reasons) == ["._a.GIF", ".hidden.png", "Thumbs.db", "__MACOSX", "desktop.ini", "notes.txt"]
    assert "AppleDouble" in reasons["._a.GIF"] and reasons[".hidden.png"] == "hidden"


def test_folders_are_searched_for_every_suffix_that_the_backend_reads(tmp_path):
    """As Pillow knows the suffixes of each format; each file is read whatever it is called."""
    known = Image.registered_extensions()
    assert {suffix for suffix, kind in known.items() if kind in FORMATS} <= set(PICTURE_SUFFIXES)
    for suffix in PICTURE_SUFFIXES:
        if known.get(suffix) in (*FORMATS, "MPO"):
            path = tmp_path / f"picture{suffix.upper()}"
            Image.new("RGB", (32, 24), (200, 30, 30)).save(path, known[suffix])
            assert open_picture(path).size == (32, 24)


@pytest.mark.parametrize(
    ("role", "what"),
    [
        ("sparse_structure_flow_model", "a structure"),
        ("sparse_structure_decoder", "a structure"),
        ("slat_flow_model", "a structured latent"),
        ("slat_decoder_gs", "Gaussians"),
        ("slat_decoder_rf", "a radiance field"),
        ("slat_decoder_mesh", "a mesh"),  # what was sound and made before it is not written either
    ],
)
def test_values_that_are_no_numbers_write_no_file(tiny_model, picture, tmp_path, capsys, role, what):
    """Weights that are numbers themselves, but so large that what they give is none."""
    model = tmp_path / "overflowing"
    shutil.copytree(tiny_model, model)
    weights = model / (
        json.loads((model / "pipeline.json").read_text())["args"]["models"][role] + ".safetensors"
    )
    save_file({name: 1e38 * tensor for name, tensor in load_file(weights).items()}, weights)
    options = ("--model", model, "--output", tmp_path / "out", "--formats", "mesh,gaussian,radiance_field")
    code, report = generate(capsys, picture, *options)
    error = report["objects"][0]["error"]
    assert code == 2 and f"gave {what} with values that are no numbers" in error
    assert "damaged" in error and "fp32" in error
    assert list((tmp_path / "out").iterdir()) == [] and report["objects"][0]["files"] == []


def test_the_name_of_a_picture_never_ends_a_run(tiny_model, picture, tmp_path):
    """Names that the output's encoding lacks, that are no text, and that hold line ends."""
    names = [b"\xe6\xa4\x85\xe5\xad\x90.png", b"caf\xe9.png", b"two\nlines.png"]
    paths = [os.path.join(os.fsencode(tmp_path), name) for name in names]
    for path in paths:
        Path(os.fsdecode(path)).write_bytes(picture.read_bytes())
    command = [sys.executable, "-m", "backend", "generate", *paths, "--model", tiny_model, "--steps", "1"]
    command += ["--output", tmp_path / "out", "--formats", "gaussian"]
    environ = os.environ | {"PYTHONIOENCODING": "cp1252:strict"}
    done = subprocess.run(command, capture_output=True, env=environ, timeout=300)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    *rows, last = done.stdout.decode("cp1252").splitlines()
    assert last == "3 of 3 made." and ["made" == row.split()[0] for row in rows] == [True] * 3
    made = {os.fsencode(path.name) for path in (tmp_path / "out").glob("*.ply")}
    assert made == {name.replace(b".png", b".ply") for name in names}


def test_nobody_listens_and_the_work_is_done(tiny_model, picture, tmp_path):
    """Closed pipes on both streams: the exit code still says what was made."""
    command = [sys.executable, "-m", "backend", "generate", picture, "absent.png", "--model", tiny_model]
    command += ["--steps", "1", "--output", tmp_path / "out", "--formats", "gaussian", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=closed, timeout=300)
    assert done.returncode == 1
    assert [path.name for path in (tmp_path / "out").glob("*.ply")] == ["disc.ply"]


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
    assert sorted(p.name for p in (tmp_path / "out").glob("*.ply")) == ["disc.ply", "disc_2.ply"]


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
