"""What a batch makes of files and folders, and what is said of it afterwards."""

import json
import os
import unicodedata
from io import StringIO
from pathlib import Path

import pytest

from blender_trellis.batch.outcomes import NOT_BEGUN, Outcome, exit_code, make_all, report, table
from blender_trellis.batch.plan import Item, NoPictures, Skipped, name_for, plan_batch, portable

NOT_TEXT = os.fsdecode(b"caf\xe9")


def names(*paths: str) -> list[str]:
    return [item.name for item in plan_batch([Path(path) for path in paths]).items]


def folder_of(path: Path, *files: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in files:
        (path / name).touch()
    return path


@pytest.mark.parametrize(
    "paths, wanted",
    [
        (("a.png", "b.png"), ["a", "b"]),
        (("a.png", "a.jpg"), ["a", "a_jpg"]),
        (("x/a.png", "y/a.png", "z/a.png"), ["a", "a_2", "a_3"]),
        (("x/Toy.png", "y/toy.png"), ["Toy", "toy_png"]),
        (("a.png", "a.JPG", "a_jpg.png"), ["a", "a_jpg", "a_jpg_png"]),
        (("a.b.png", "a.b"), ["a.b", "a"]),
        (("._a.png",), ["._a"]),  # named, and so taken
    ],
)
def test_names_are_the_pictures_own_as_far_as_they_are_distinct(paths, wanted):
    assert names(*paths) == wanted


@pytest.mark.parametrize(
    "one, other",
    [
        ("Toy", "TOY"),
        ("stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),  # composed and decomposed
        ("CAF\u00c9", "cafe\u0301"),
        ("\u212b", "\u00e5"),  # the unit, and the letter in lower case
        ("\uff21", "a"),  # full width
        ("\u03a3", "\u03c2"),  # sigma and its form at the end of a word
        (NOT_TEXT, os.fsdecode(b"caf\xe8")),  # the same once neither can be kept
    ],
)
def test_names_that_some_file_system_takes_for_the_same_are_told_apart(one, other):
    first, second = names(f"x/{one}.png", f"y/{other}.png")
    assert first == one and second == f"{other}_png"


def test_all_spellings_of_a_name_are_distinct_on_every_system():
    """By case and by Unicode form, each from two folders."""
    letters = [("a", "A", "\uff41"), ("\u00e9", "e\u0301", "\u00c9", "E\u0301"), ("k", "K", "\u212a")]
    spelt = [f"{a}{b}{c}.{end}" for a in letters[0] for b in letters[1] for c in letters[2] for end in "xy"]
    made = names(*spelt, *spelt)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        for case in (str.lower, str.upper, str.casefold):
            assert len({unicodedata.normalize(form, case(name)) for name in made}) == 2 * len(spelt)


def test_of_a_folder_pictures_are_taken_and_the_rest_is_told_of(tmp_path):
    folder = folder_of(
        tmp_path / "in", "b.JPEG", "a.PnG", "c.tif", "notes.txt", "README", "._a.PnG", ".x.png"
    )
    (folder / "more.png").mkdir()
    (folder / "lost.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    plan = plan_batch([folder, Path("absent.png")])
    assert [item.name for item in plan.items] == ["a", "b", "c", "absent"]
    assert {one.path.name: one.reason.partition(" ")[0] for one in plan.skipped} == {
        "._a.PnG": "AppleDouble",
        ".x.png": "hidden",
        "README": "no",
        "lost.png": "not",
        "more.png": "folder",
        "notes.txt": "not",
        "pipe.png": "not",
    }


def test_views_of_one_object_are_one_item(tmp_path):
    folder = folder_of(tmp_path / "chair", "back.png", "front.png", ".DS_Store")
    (one,) = plan_batch([folder], views=True).items
    assert one == Item("chair", (folder / "back.png", folder / "front.png"))
    (one,) = plan_batch([Path("front.png"), Path("back.png")], views=True).items
    assert one == Item("front", (Path("front.png"), Path("back.png")))


def test_a_folder_without_pictures_is_a_sentence(tmp_path):
    folder = folder_of(tmp_path / "in", "._a.png", "notes.txt")
    with pytest.raises(NoPictures, match="no picture in the folder"):
        plan_batch([folder])


def test_a_name_that_is_no_text_is_kept_where_the_file_system_takes_it(tmp_path, monkeypatch):
    assert portable(NOT_TEXT) == "caf_" and name_for(tmp_path, NOT_TEXT) == NOT_TEXT
    assert name_for(tmp_path, "plain") == "plain" and not list(tmp_path.iterdir())

    def refuse(path, mode):  # as macOS does
        raise OSError(92, "Illegal byte sequence", path)

    monkeypatch.setattr("builtins.open", refuse)
    assert name_for(tmp_path, NOT_TEXT) == "caf_" and name_for(tmp_path, "plain") == "plain"


def test_every_item_gets_its_outcome_whatever_is_raised(tmp_path):
    faults = {"a": None, "b": ValueError("one sentence.\nthe log\nof two lines"), "c": None}

    def make(item, outcome, bar):
        if faults[item.name]:
            raise faults[item.name]
        outcome.files.append(f"{item.name}.glb")

    items = [Item(name, (Path(f"{name}.png"),)) for name in faults]
    outcomes = make_all(items, tmp_path, 7, make, str, StringIO())
    assert [one.files for one in outcomes] == [["a.glb"], [], ["c.glb"]]
    assert (outcomes[1].error, outcomes[1].log) == ("one sentence.", "the log\nof two lines")
    assert {one.seed for one in outcomes} == {7} and outcomes[0].picture == "a.png"
    assert [exit_code(some) for some in (outcomes[:1], outcomes, outcomes[1:2])] == [0, 1, 2]


def test_an_interrupt_ends_the_batch_and_is_told(tmp_path):
    def make(item, outcome, bar):
        if item.name == "b":
            raise KeyboardInterrupt

    outcomes = make_all([Item("a"), Item("b"), Item("c")], tmp_path, 1, make, str, StringIO())
    assert [one.error for one in outcomes] == ["", "Interrupted.", NOT_BEGUN] and exit_code(outcomes) == 1


def test_what_an_earlier_run_made_counts_after_an_interrupt(tmp_path):
    made = {"b": Outcome("b", files=["b.glb"])}
    asked: list[str] = []

    def make(item, outcome, bar):
        asked.append(item.name)

    outcomes = make_all(
        [Item(name) for name in "abcd"],
        tmp_path,
        1,
        make,
        str,
        StringIO(),
        made=lambda item: made.get(item.name),
        is_stopping=lambda: bool(asked),
    )
    assert [one.error for one in outcomes] == ["", "", NOT_BEGUN, NOT_BEGUN] and asked == ["a"]


def test_a_fault_of_the_library_counts_as_failed():
    outcome = Outcome("a", files=["a.glb"], library_error="The asset library is full.")
    assert exit_code([outcome]) == 2 and "The asset library is full." in table([outcome], [])
    assert json.loads(report([outcome], [], "pictures"))["pictures"][0]["status"] == "failed"


def test_report_and_table_hold_any_name():
    outcomes = [Outcome("two\nlines", files=["/x/two\nlines.glb"]), Outcome(NOT_TEXT, error="No.")]
    skipped = [Skipped(Path("in/._a\r.png"), "hidden")]
    content = json.loads(report(outcomes, skipped, "pictures").encode("ascii"))
    assert (content["made"], content["of"]) == (1, 2)
    assert [one["name"] for one in content["pictures"]] == ["two\nlines", NOT_TEXT]
    assert content["skipped"] == [{"path": "in/._a\r.png", "reason": "hidden"}]
    lines = table(outcomes, skipped).splitlines()
    assert [line.split()[0] for line in lines] == ["made", "FAILED", "skipped", "1"]
    assert "two\\x0alines.glb" in lines[0] and "._a\\x0d.png" in lines[2]
