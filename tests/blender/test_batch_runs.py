"""Long batches: several seeds, files of jobs, Ctrl-C, kills, and going on after them, with real processes."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blender_trellis.backend_settings import BackendSettings
from blender_trellis.batch import run as in_blender
from blender_trellis.batch.jobs_file import read_jobs
from blender_trellis.batch.journal import Journal
from blender_trellis.batch.options import request_of
from blender_trellis.batch.outcomes import Outcome
from blender_trellis.batch.region_file import region_of
from blender_trellis.batch.requests import request_for, request_hash
from blender_trellis.batch.work import Work
from blender_trellis.faults import Fault
from blender_trellis.jobs.sent_arrays import sent
from blender_trellis.protocol import Edit, Generate, encode
from blender_trellis.protocol.messages import REGION_BOXES, REGION_MESHES
from blender_trellis.protocol.pictures import PNG
from scripts import batch
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
RAW = ("--finish", "raw", "--texture", "0")  # the fake finishes the upper half of its ball
BATCH = [sys.executable, str(ROOT / "scripts" / "batch.py")]


def run(*arguments) -> subprocess.CompletedProcess[str]:
    command = [*BATCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)


def start(*arguments) -> subprocess.Popen[str]:
    command = [*BATCH, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def lines(out: Path) -> list[dict]:
    return json_lines(out / "report.jsonl")


def marks(out: Path, *names: str) -> dict[str, tuple[int, int]]:
    """What changes when a file is written again."""
    found = {name: (out / name).stat() for name in names}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in found.items()}


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()

    def make(**named: bytes):
        for name, data in named.items():
            (folder / f"{name}.png").write_bytes(PNG + data)
        return folder

    return make


def test_several_seeds_of_each_picture(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    done = run("--input", pictures(a=b"ball"), "--output", out, "--seed", 7, "--seeds", 3, "--formats", "ply")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.glob("*.ply")) == [f"a_seed_{n}.ply" for n in (7, 8, 9)]
    assert [(one["seed"], one["status"], one["error"]) for one in lines(out)] == [
        (seed, "made", "") for seed in (7, 8, 9)
    ]
    assert not list(out.glob("*.glb"))


def test_the_texture_in_a_glb_file_is_stored_as_asked(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    arguments = ("--input", pictures(a=b"ball"), "--output", out, "--glb", "--texture", "512")
    for encoding in ("webp", "jpeg"):
        done = run(*arguments, "--encoding", encoding, "--resume")
        assert done.returncode == 0, done.stderr
        assert f'"mimeType":"image/{encoding}"'.encode() in (out / "a.glb").read_bytes()


def test_after_a_kill_nothing_is_redone_and_nothing_is_lost(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    folder = pictures(a=b"ball", b=b"steady", c=b"ball")
    arguments = ("--input", folder, "--output", out, "--glb")
    batch = start(*arguments)
    wait_until(lambda: (out / "report.jsonl").exists() and lines(out))  # a is done
    batch.kill()
    batch.communicate()
    assert [one["name"] for one in lines(out)] == ["a"]
    with open(out / "report.jsonl", "a") as report:
        report.write('{"name": "b", "status": "ma')  # a line that the kill has cut off
    before = marks(out, "a.glb")
    for name in (".0123456789abcdef.glb", ".0123456789abcdef.blend@"):  # half written when it was killed
        (out / name).write_bytes(b"half")
    assert run(*arguments, "--resume").returncode == 0
    assert marks(out, "a.glb") == before
    assert [(one["name"], one["status"]) for one in lines(out)] == [(n, "made") for n in "abc"]
    assert json.loads((out / "report.json").read_text())["made"] == 3
    files = {f"{name}.glb" for name in "abc"}
    assert {path.name for path in out.iterdir()} == files | {"report.json", "report.jsonl"}


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_second_batch_leaves_a_folder_alone_that_one_is_writing_into(
    fake_python, pictures, tmp_path, resume
):
    out = tmp_path / "out"
    arguments = ("--input", pictures(a=b"ball", b=b"steady", c=b"ball"), "--output", out, "--ply")
    first = start(*arguments)
    wait_until(lambda: (out / "report.jsonl").exists() and lines(out))  # a is done
    half = out / ".0123456789abcdef.ply"
    half.write_bytes(b"half")
    second = run(*arguments, *resume)
    assert second.returncode == 2
    assert "Another batch is writing into" in second.stderr and "Traceback" not in second.stderr
    assert half.exists() and first.wait(timeout=300) == 0
    assert [one["name"] for one in lines(out)] == ["a", "b", "c"]


def test_resume_makes_again_what_has_changed_or_gone_or_failed(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    folder = pictures(a=b"ball", b=b"ball", c=b"bad", d=b"ball")
    arguments = ("--input", folder, "--output", out, "--formats", "glb,ply")
    assert run(*arguments).returncode == 1
    before = marks(out, "a.glb", "d.glb")
    (out / "b.ply").unlink()
    pictures(c=b"ball", d=b"another ball")
    assert run(*arguments, "--resume").returncode == 0
    after = marks(out, "a.glb", "d.glb")
    assert after["a.glb"] == before["a.glb"] and after["d.glb"] != before["d.glb"]
    assert [one["name"] for one in lines(out)] == ["a", "b", "c", "d", "b", "c", "d"]
    assert run(*arguments, "--resume").returncode == 0 and len(lines(out)) == 7
    assert run(*arguments, "--resume", "--seed", 2).returncode == 0 and len(lines(out)) == 11
    assert run(*arguments).returncode == 0 and len(lines(out)) == 4  # without it everything begins anew


def test_pictures_and_objects_in_one_folder(fake_python, pictures):
    """Previews of one night are no pictures of the next, and no picture is overwritten."""
    folder = pictures(crate=b"ball")
    arguments = ("--input", folder, "--output", folder, "--formats", "ply,preview", "--resume")
    for _ in range(2):
        done = run(*arguments)
        assert done.returncode == 0 and "1 of 1 made." in done.stdout, done.stderr
    assert len(lines(folder)) == 1
    assert "crate_preview.png" in done.stdout and "made by an earlier run" in done.stdout
    pictures(lamp=b"ball", lamp_preview=b"another ball")
    before = marks(folder, "lamp_preview.png")
    done = run(*arguments)
    assert done.returncode == 2 and marks(folder, "lamp_preview.png") == before
    assert f'"{folder / "lamp_preview.png"}" would be overwritten' in done.stderr


def test_ctrl_c_finishes_the_current_one(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    batch = start("--input", pictures(a=b"steady", b=b"ball", c=b"ball"), "--output", out, "--ply")
    wait_until(lambda: "Shaping" in batch.stderr.readline())
    batch.send_signal(signal.SIGINT)
    said = batch.communicate(timeout=120)
    assert batch.returncode == 1, said
    assert [(one["name"], one["status"]) for one in lines(out)] == [("a", "made")]
    assert [path.name for path in out.glob("*.ply")] == ["a.ply"]
    report = json.loads((out / "report.json").read_text())
    assert (report["made"], report["of"]) == (1, 3)
    assert "Ctrl-C" in said[1] and "1 of 3 made." in said[0]


def test_a_second_ctrl_c_gives_the_current_one_up(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    batch = start("--input", pictures(a=b"slow", b=b"ball"), "--output", out, "--ply")
    wait_until(lambda: "Shaping" in batch.stderr.readline())
    batch.send_signal(signal.SIGINT)
    wait_until(lambda: "Ctrl-C" in batch.stderr.readline())
    batch.send_signal(signal.SIGINT)
    batch.communicate(timeout=120)
    assert batch.returncode == 2
    assert [(one["name"], one["error"]) for one in lines(out)] == [("a", "Interrupted.")]


def test_lines_on_the_standard_output(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    done = run("--input", pictures(a=b"ball", b=b"bad"), "--output", out, "--ply", "--json")
    assert done.returncode == 1
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said == lines(out) and {"status", "seconds", "seed", "files", "error"} <= said[0].keys()
    assert (said[0]["files"], said[1]["files"]) == ([str(out / "a.ply")], [])


def test_a_file_of_jobs(fake_python, pictures, tmp_path):
    folder = pictures(a=b"ball", b=b"another ball")
    jobs = folder / "night.jsonl"
    said = [
        {"do": "generate", "picture": "a.png", "name": "chair", "seed": 5, "formats": ["ply"]},
        {"do": "vary", "asset": "chair", "picture": str(folder / "b.png"), "seed": 6, "strength": 0.5},
        {"do": "edit", "asset": "chair", "mode": "remove", "region": {"boxes": [{"matrix": MATRIX}]}},
        {"do": "vary", "asset": str(tmp_path / "saved.blend"), "picture": "b.png"},
    ]
    assert run("--input", folder / "a.png", "--output", tmp_path, "--blend").returncode == 0
    (tmp_path / "a.blend").rename(tmp_path / "saved.blend")
    jobs.write_text("\n".join(map(json.dumps, said)) + "\n\n")
    out = tmp_path / "out"
    done = run("--jobs", jobs, "--output", out, "--glb")
    assert done.returncode == 0, done.stderr
    assert [(one["name"], one["seed"]) for one in lines(out)] == [
        ("chair", 5),
        ("chair_variant", 6),
        ("chair_edited", 1),
        ("saved_variant", 1),
    ]
    assert {path.name for path in out.iterdir()} == {
        "chair.ply",
        "chair.latents.safetensors",
        "chair_variant.glb",
        "chair_edited.glb",
        "saved_variant.glb",
        "report.json",
        "report.jsonl",
    }
    before = marks(out, "chair.ply", "chair_variant.glb", "chair_edited.glb")
    assert run("--jobs", jobs, "--output", out, "--glb", "--resume").returncode == 0
    assert marks(out, *before) == before


MATRIX = [[0.1, 0, 0, 0], [0, 0.1, 0, 0], [0, 0, 0.1, 0.3], [0, 0, 0, 1]]


def test_a_wrong_job_stops_all_of_them_before_anything_runs(fake_python, pictures, tmp_path):
    folder = pictures(a=b"ball")
    jobs = folder / "night.jsonl"
    jobs.write_text(
        '{"do": "generate", "picture": "a.png"}\n{"do": "generate", "picture": "a.png", "sed": 1}\n'
    )
    done = run("--jobs", jobs, "--output", tmp_path / "out")
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert done.stderr.startswith('night.jsonl, line 2: "sed" is nothing that generate knows')
    assert len(done.stderr.splitlines()) == 1


def test_variants_of_each_object(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    done = run("--input", pictures(a=b"ball", b=b"bad"), "--output", out, "--vary", 2, "--ply", "--seed", 4)
    assert done.returncode == 1, done.stderr
    assert {path.name for path in out.iterdir()} >= {"a.ply", "a_variant_1.ply", "a_variant_2.ply"}
    told = {one["name"]: one for one in lines(out)}
    assert [told[name]["seed"] for name in ("a", "a_variant_1", "a_variant_2")] == [4, 5, 6]
    assert [told[name]["error"] for name in ("b", "b_variant_1")] == [
        "b.png is no picture.",
        '"b" was not made, from which this was to be made: see why in its own line.',
    ]


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_no_variant_is_made_of_what_an_earlier_run_made(fake_python, pictures, tmp_path, resume):
    out = tmp_path / "out"
    arguments = ("--input", pictures(a=b"ball"), "--output", out, "--vary", 1, "--ply")
    assert run(*arguments).returncode == 0
    pictures(a=b"bad")
    assert run(*arguments, *resume).returncode == 2
    assert [one["error"] for one in lines(out)[-2:]] == [
        "a.png is no picture.",
        '"a" was not made, from which this was to be made: see why in its own line.',
    ]
    pictures(a=b"ball")
    assert run(*arguments, "--resume").returncode == 0


def test_a_mesh_file_is_varied_at_its_place_and_size(fake_python, pictures, tmp_path):
    """The fake's ball is as wide as what was sent, 4, about the same middle."""
    folder = pictures(a=b"ball")
    corners = [(x, y, z) for x in (8, 12) for y in (-1, 1) for z in (2, 3)]
    quads = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
    lines_of_mesh = [f"v {x} {y} {z}" for x, y, z in corners] + [f"f {a} {b} {c} {d}" for a, b, c, d in quads]
    (folder / "box.obj").write_text("\n".join(lines_of_mesh))
    (folder / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (folder / "words.obj").write_text("no mesh at all")
    said = [
        {"do": "vary", "asset": name, "picture": "a.png", "formats": "glb,latents"}
        for name in ("box.obj", "flat.obj", "words.obj", "none.ply", "a.png")
    ]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, said)))
    out = tmp_path / "out"
    done = run("--jobs", folder / "jobs.jsonl", "--output", out, "--json", *RAW)
    assert done.returncode == 1, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == lines(out)  # importers are quiet
    errors = [one["error"] for one in lines(out)]
    words = ["", "is flat", "no mesh in", "does not exist", "is no asset that can be opened"]
    assert [word in error for word, error in zip(words, errors, strict=True)] == [True] * 5 and not errors[0]
    again = {"do": "vary", "asset": str(out / "box_variant.latents.safetensors"), "picture": "a.png"}
    (folder / "again.jsonl").write_text(json.dumps(again))
    assert run("--jobs", folder / "again.jsonl", "--output", out, "--glb", *RAW).returncode == 0
    first, second = (bounds(out / f"box_variant{end}.glb") for end in ("", "_variant"))
    assert sum(second, ()) == pytest.approx(sum(first, ()), abs=1e-4)
    before, after = (bounds(path) for path in (folder / "box.obj", out / "box_variant.glb"))
    assert after[0] == pytest.approx(before[0], abs=1e-4)  # the longest side
    assert [sum(pair) for pair in after] == pytest.approx([sum(pair) for pair in before], abs=1e-4)


def bounds(path: Path) -> list[tuple[float, float]]:
    """Lowest and highest x, y and z of what Blender reads of a file."""
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    if path.suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=str(path))
    else:
        bpy.ops.import_scene.gltf(filepath=str(path))
    meshes = [item for item in bpy.context.scene.objects if item.type == "MESH"]
    points = [item.matrix_world @ vertex.co for item in meshes for vertex in item.data.vertices]
    return [(min(axis), max(axis)) for axis in zip(*points, strict=True)]


def test_parts_of_a_batch_at_once_and_one_report_of_all(fake_python, pictures, tmp_path):
    out = tmp_path / "out"
    folder = pictures(a=b"ball", b=b"die", c=b"another ball", d=b"a third")
    arguments = ("--input", folder, "--output", out, "--ply", "--vary", 1)
    parts = [start(*arguments, "--resume", "--share", f"{part}/2") for part in (1, 2)]
    assert [part.wait(timeout=300) for part in parts] == [0, 1]
    assert [one["name"] for one in json_lines(out / "report.1-of-2.jsonl")] == [
        "a",
        "a_variant_1",
        "c",
        "c_variant_1",
    ]
    assert not (out / "report.jsonl").exists()
    before = marks(out, "a.ply", "a_variant_1.ply", "c.ply", "d.ply", "d_variant_1.ply")
    pictures(b=b"ball")  # which killed its backend
    assert run(*arguments, "--resume").returncode == 0
    assert marks(out, *before) == before
    names = [one["name"] for one in lines(out) if one["status"] == "made"]
    assert sorted(names) == sorted(f"{name}{end}" for name in "abcd" for end in ("", "_variant_1"))
    assert json.loads((out / "report.json").read_text())["made"] == 8
    assert run(*arguments, "--share", "9/9").returncode == 0  # more parts than pictures
    assert run(*arguments, "--share", "3/2").returncode == 2


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_background_goes_as_the_batch_says_unless_a_job_says_otherwise(pictures):
    jobs = pictures(a=b"ball") / "jobs.jsonl"
    said = {"do": "generate", "picture": "a.png"}
    jobs.write_text("\n".join(map(json.dumps, (said, said | {"background": "keep"}))))
    options = ["--jobs", str(jobs), "--output", "out", "--background", "plain"]
    template = request_of(batch.parser().parse_args(options), ("mesh",))
    asked = [request_for(work, template, jobs.parent).request for work in read_jobs(jobs)]
    assert [request.background for request in asked] == ["plain", "keep"]


def test_another_machine_s_preferences_are_not_in_the_hash(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    work = Work("a", prompt="a chair", files=("glb",))
    hashes = []
    for settings in (BackendSettings(), BackendSettings(precision="fp32", engine="compile")):
        monkeypatch.setattr(in_blender, "backend_settings", lambda settings=settings: settings)
        outcome = Outcome("a")
        template = Generate("", device="", precision="", engine="")
        maker = in_blender.Maker(template, in_blender.Written(tmp_path), journal)
        asked = maker.ask(work, outcome)
        assert in_blender.with_settings(asked.request).engine == settings.engine
        hashes.append(outcome.request_hash)
    assert hashes[0] == hashes[1]


def test_a_model_s_folder_counts_by_its_name():
    asked = [
        Generate("", prompt="a chair", model=model) for model in ("/a/tuned", "C:\\b\\tuned", "/a/other")
    ]
    one, same, other = map(request_hash, asked)
    assert one == same != other


def test_a_region_of_many_parts_is_sent_or_told_of_in_plain_words():
    box = {"matrix": np.diag([0.123456789012345, 1e-3 / 3, 1 / 3, 1]).tolist()}
    mesh = {"vertices": [[0, 0, 0], [1, 0, 0], [0, 1, 0]], "faces": [[0, 1, 2]]}
    most = {"boxes": [box] * REGION_BOXES, "meshes": [mesh] * REGION_MESHES}
    arrays = {}
    for number, (vertices, faces) in enumerate(region_of(most).meshes):
        arrays |= sent({f"region_{number}_vertices": vertices, f"region_{number}_faces": faces})
    longest = tuple((-1.2345678901234567e-300,) * 16 for _ in range(REGION_BOXES))
    encode(Edit("", arrays=arrays, boxes=longest))
    for kind, one in (("boxes", box), ("meshes", mesh)):
        with pytest.raises(Fault, match="join them to one mesh"):
            region_of({kind: [*most[kind], one]})


def test_models_do_not_go_with_a_backend_command(tmp_path, monkeypatch):
    settings = BackendSettings(command="ssh gpubox trellis-backend")
    monkeypatch.setattr(in_blender, "backend_settings", lambda: settings)
    with pytest.raises(Fault, match="--models does not go"):
        in_blender.open_runner("", tmp_path)


def test_another_machine_s_preferences_make_nothing_anew():
    request = Generate("", prompt="a chair")
    for other in ({"device": "cuda:1"}, {"memory": "release"}):
        assert request_hash(replace(request, **other)) == request_hash(request)
    assert request_hash(replace(request, seed=2)) != request_hash(request)
