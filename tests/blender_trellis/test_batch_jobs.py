"""Files of jobs, regions in them, and the report that batches go on by."""

import json
from pathlib import Path

import numpy as np
import pytest

from blender_trellis.batch.jobs_file import read_jobs
from blender_trellis.batch.journal import Journal, files_noted
from blender_trellis.batch.outcomes import Outcome
from blender_trellis.batch.plan import Item
from blender_trellis.batch.region_file import region_of
from blender_trellis.batch.work import with_latents, works_of
from blender_trellis.faults import Fault

GOOD = {"do": "generate", "picture": "a.png"}
EDIT = {"do": "edit", "asset": "x.glb", "picture": "a.png", "region": "r.json"}


def jobs(folder: Path, *said: object) -> list:
    path = folder / "jobs.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in said))
    return read_jobs(path, first_seed=3)


def test_jobs_are_read_with_paths_relative_to_their_file(tmp_path):
    chair, varied, edited = jobs(
        tmp_path,
        GOOD | {"name": "chair", "seed": 8, "formats": "mesh, glb", "steps": 4, "guidance": 1},
        {"do": "vary", "asset": "chair", "prompt": "red", "strength": 0.5, "shape": True, "model": "m"},
        EDIT
        | {"picture": ["b.png", "/abs/c.png"], "mode": "add", "margin": 0, "growth": 4, "jumps": 50}
        | {"background": "keep"},
    )
    assert (chair.name, chair.pictures, chair.seed) == ("chair", (tmp_path / "a.png",), 8)
    assert (chair.formats, chair.files, chair.steps, chair.guidance) == (("mesh",), ("glb",), 4, 1.0)
    assert (varied.name, varied.do, varied.of, varied.asset) == ("chair_variant", "vary", "chair", None)
    assert (varied.prompt, varied.strength, varied.shape, varied.model) == ("red", 0.5, True, "m")
    assert varied.seed == 3 and varied.formats is None and varied.files is None
    assert (edited.name, edited.asset, edited.region) == ("x_edited", tmp_path / "x.glb", tmp_path / "r.json")
    assert edited.pictures == (tmp_path / "b.png", Path("/abs/c.png"))
    assert (edited.mode, edited.margin, edited.growth, edited.jumps) == ("add", 0, 4, 50)
    assert (chair.background, edited.background) == (None, "keep")


def test_names_that_nobody_gave_are_distinct(tmp_path):
    named = jobs(tmp_path, GOOD, GOOD, {"do": "generate", "prompt": "A red/blue chair, old"}, "", GOOD)
    assert [one.name for one in named] == ["a", "a_2", "A_red_blue_chair_old", "a_3"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{", "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"do": "generate", "seed": NaN}', "NaN is no JSON number"),
        ('{"do": "generate", "do": "vary"}', 'says "do" twice'),
        ("[" * 100_000, "nested too deeply"),
        ('{"do": "generate", "seed": ' + "9" * 5000 + "}", "thousands of digits; write a shorter one"),
        ({"picture": "a.png"}, 'does not say what to "do": generate or vary or edit'),
        ({"do": "paint"}, '"do" is "paint"; choose of generate, vary, edit'),
        (GOOD | {"strength": 1}, '"strength" is nothing that generate knows'),
        (GOOD | {"Seed": 1}, '"Seed" is nothing that generate knows'),
        (GOOD | {"seed": -1}, '"seed" is -1; give a whole number'),
        (GOOD | {"seed": True}, '"seed" is true'),
        (GOOD | {"seed": 1.5}, '"seed" is 1.5'),
        (GOOD | {"steps": 0}, "from 1 to 1000"),
        (GOOD | {"guidance": "3"}, '"guidance" is "3"; give a number'),
        (GOOD | {"guidance": 10**400}, "give a number from 0 to"),
        ('{"do": "generate", "picture": "a.png", "guidance": 1e999}', "give a number from 0 to"),
        (GOOD | {"name": "../up"}, "cannot be the name of files"),
        (GOOD | {"name": "Con.old"}, "cannot be the name of files"),
        (GOOD | {"name": "a."}, "cannot be the name of files"),
        (GOOD | {"name": "a "}, "cannot be the name of files"),
        (GOOD | {"name": "n" * 201}, "longer than 200 bytes"),
        (GOOD | {"name": ""}, "give a text"),
        (GOOD | {"formats": ["obj"]}, '"formats" is "obj"; choose of mesh, gaussian, blend'),
        (GOOD | {"formats": []}, '"formats" is []'),
        (GOOD | {"background": "white"}, "choose of auto, alpha, remover, plain, keep"),
        (GOOD | {"prompt": "a chair"}, "both a picture and a prompt"),
        (GOOD | {"picture": []}, "empty list"),
        (GOOD | {"picture": [1]}, '"picture" is 1; give a text'),
        ({"do": "generate"}, "generate needs a picture or a prompt"),
        ({"do": "vary", "picture": "a.png"}, "needs an asset"),
        ({"do": "vary", "asset": "chair", "picture": "a.png"}, 'no line above makes "chair"'),
        (EDIT | {"strength": 0}, '"strength" is 0; give a number from 0.001 to 1'),
        (EDIT | {"mode": "melt"}, "choose of replace, add, look, remove"),
        (EDIT | {"region": 3}, '"region" is 3'),
        ({key: EDIT[key] for key in ("do", "asset", "picture")}, "edit needs a region"),
        ({key: EDIT[key] for key in ("do", "asset", "region")}, "edit needs a picture or a prompt"),
    ],
)
def test_a_bad_line_is_one_sentence_with_its_number(tmp_path, said, words):
    with pytest.raises(Fault) as caught:
        jobs(tmp_path, GOOD, "", said)
    assert str(caught.value).startswith("jobs.jsonl, line 3: ") and words in str(caught.value)


def test_a_name_is_given_once(tmp_path):
    with pytest.raises(Fault, match='line 2: the name "CHAIR" is that of line 1'):
        jobs(tmp_path, GOOD | {"name": "chair"}, GOOD | {"name": "CHAIR"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: path.write_text("\n \n"), "There are no jobs"),
        (lambda path: path.write_bytes(b'{"do": "\xff"}'), "line 1: it is no JSON object"),
    ],
)
def test_what_is_no_file_of_jobs(tmp_path, make, words):
    make(tmp_path / "jobs.jsonl")
    with pytest.raises(Fault, match=words):
        read_jobs(tmp_path / "jobs.jsonl")


def test_seeds_and_variants_have_names_of_their_own():
    items = [Item("a", (Path("a.png"),)), Item("A_seed_2")]
    works = works_of(items, 1, seeds=2, variants=1, strength=0.3)
    assert [(one.name, one.seed, one.do, one.of) for one in works] == [
        ("a_seed_1", 1, "generate", ""),
        ("a_seed_1_variant_1", 2, "vary", "a_seed_1"),
        ("a_seed_2_2", 2, "generate", ""),  # another item has the name, but for its case
        ("a_seed_2_2_variant_1", 3, "vary", "a_seed_2_2"),
        ("A_seed_2_seed_1", 1, "generate", ""),
        ("A_seed_2_seed_1_variant_1", 2, "vary", "A_seed_2_seed_1"),
        ("A_seed_2_seed_2", 2, "generate", ""),
        ("A_seed_2_seed_2_variant_1", 3, "vary", "A_seed_2_seed_2"),
    ]
    assert {one.strength for one in works if one.do == "vary"} == {0.3}
    files = [one.files for one in with_latents(works, ("glb",))]
    assert files == [("glb", "latents"), ("glb",)] * 4


def test_a_report_goes_on_after_a_line_that_was_cut_off(tmp_path):
    (tmp_path / "a.glb").write_bytes(b"mesh")
    journal = Journal(tmp_path)
    journal.note(Outcome("a", files=["/moved/since/a.glb"], request_hash="1"))
    journal.note(Outcome("b", error="No."))
    journal.close()
    path = tmp_path / "report.jsonl"
    with open(path, "ab") as report:
        report.write(b'garbage\n["no", "object"]\n{"name": 3}\n{"name": "c", "sta')
    journal = Journal(tmp_path, resume=True)
    assert journal.made("a", "1").files == ["/moved/since/a.glb"]
    assert journal.made("a", "2") is None and journal.made("b", "") is None and journal.made("c", "") is None
    assert journal.tells_of("b") and not journal.tells_of("c")
    journal.note(Outcome("c", files=["a.glb"]))
    journal.close()
    assert json.loads(path.read_text().splitlines()[-1])["name"] == "c"
    (tmp_path / "a.glb").unlink()
    assert Journal(tmp_path, resume=True).made("a", "1") is None
    Journal(tmp_path).close()
    assert path.read_bytes() == b""


def test_boxes_are_matrices_of_the_cube(tmp_path):
    """A quarter turn about z: the box's x axis points along y."""
    half = 0.5**0.5
    said = {"boxes": [{"center": [0.1, 0.2, 0.3], "size": [1, 0.4, 0.2], "rotation": [half, 0, 0, half]}]}
    (matrix,) = region_of(said).boxes
    wanted = [[0, -0.2, 0, 0.1], [0.5, 0, 0, 0.2], [0, 0, 0.1, 0.3], [0, 0, 0, 1]]
    assert np.allclose(np.reshape(matrix, (4, 4)), wanted)
    (tmp_path / "region.json").write_text(json.dumps({"boxes": [{"matrix": wanted}]}))
    assert np.allclose(region_of(tmp_path / "region.json").boxes, [np.ravel(wanted)])


def test_closed_meshes_are_arrays():
    ((vertices, faces),) = region_of(
        {"meshes": [{"vertices": np.eye(3).tolist(), "faces": [[0, 1, 2]]}]}
    ).meshes
    assert (vertices.dtype, faces.dtype) == (np.float32, np.int32)
    assert np.array_equal(vertices, np.eye(3)) and faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([], "A region is a JSON object"),
        ({"spheres": []}, "lists boxes and meshes"),
        ({"boxes": 3}, "lists of JSON objects"),
        ({}, "neither a box nor a mesh"),
        ({"boxes": [{"center": [0, 0, 0]}]}, "A box has center, size"),
        ({"boxes": [{"center": [0, 0], "size": [1, 1, 1]}]}, "center of the region is not 3 finite numbers"),
        ({"boxes": [{"center": [0, 0, 10**400], "size": [1, 1, 1]}]}, "center of the region"),
        ({"boxes": [{"center": [0, 0, 0], "size": [1, 0, 1]}]}, "scaled to nothing"),
        ({"boxes": [{"center": [0, 0, 0], "size": [1, -1, 0.4]}]}, "scaled to nothing"),
        ({"boxes": [{"matrix": [[1] * 4] * 4}]}, "last row"),
        ({"meshes": [{"vertices": [[0, 0, 0]], "faces": [[0, 0, 1]]}]}, "faces without vertices"),
    ],
)
def test_what_is_no_region_is_a_sentence(said, words):
    with pytest.raises(Fault, match=words):
        region_of(said)


def test_a_report_tells_of_files_under_the_paths_of_any_machine(tmp_path):
    for name in ("a.glb", "back\\slash.glb"):
        (tmp_path / name).write_bytes(b"mesh")
    journal = Journal(tmp_path)
    for name, file in {
        "a": "P:\\out\\a.glb",
        "b": "\\\\nas\\out\\a.glb",
        "c": "/out/back\\slash.glb",
    }.items():
        journal.note(Outcome(name, files=[file], request_hash="1"))
    journal.close()
    journal = Journal(tmp_path, resume=True)
    assert all(journal.made(name, "1") for name in "abc")
    assert files_noted(tmp_path) == {tmp_path / "a.glb", tmp_path / "back\\slash.glb"}
    journal.close()
