"""The installed extension in a real Blender without a window: the exit codes that a farm goes by."""

import json
import signal
from pathlib import Path

import pytest

from blender_trellis import translations
from blender_trellis.protocol.pictures import PNG
from tests.waiting import wait_until


def _script(installed: dict[str, Path]) -> Path:
    extensions = installed["BLENDER_USER_RESOURCES"] / "extensions"
    return extensions / "user_default" / "trellis" / "scripts" / "batch.py"


@pytest.mark.parametrize(
    "pictures, code", [({"a": b"ball"}, 0), ({"a": b"ball", "b": b"die"}, 1), ({"b": b"bad"}, 2)]
)
def test_batch_from_the_installed_extension(blender, installed, fake_python, tmp_path, pictures, code):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for name, data in pictures.items():
        (folder / f"{name}.png").write_bytes(PNG + data)
    script = _script(installed)
    done = blender.run(
        *("--background", "--python", script, "--", "--input", folder, "--output", out),
        TRELLIS_PYTHON=fake_python,
        **installed,
    )
    assert done.returncode == code, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["of"] == len(pictures)
    made = {f"a.{suffix}" for suffix in ("blend", "glb", "ply")} if "a" in pictures else set()
    assert {path.name for path in out.iterdir()} == made | {"report.json", "report.jsonl"}


def test_wrong_arguments_are_exit_code_2(blender, installed):
    done = blender.run("--background", "--python", _script(installed), "--", "--wrong", **installed)
    assert done.returncode == 2 and "--input" in done.stderr


LOOK_UP = """
import importlib, json, sys, bpy
view = bpy.context.preferences.view
view.language, view.use_translate_interface = sys.argv[-1], True
words = importlib.import_module("bl_ext.user_default.trellis.blender_trellis.translations")
label = "The same seed and settings give the same result"
fault = 'The picture "a.png" does not exist: choose another file.'
said = [
    bpy.app.translations.pgettext_iface(label),
    bpy.app.translations.pgettext("Regenerate Region", "Operator"),
    words.translated(fault),
    words.translated("No sentence of ours."),
]
print("SAID", json.dumps(said))
"""


@pytest.mark.parametrize("language", ["ja_JP", "zh_HANS"])
def test_texts_appear_in_the_language_of_blender(blender, installed, tmp_path, language):
    script = tmp_path / "look_up.py"
    script.write_text(LOOK_UP)
    done = blender.run("--background", "--python", script, "--", language, LANG="C.UTF-8", **installed)
    assert "SAID" in done.stdout, done.stdout + done.stderr
    label, operator, fault, foreign = json.loads(done.stdout.split("SAID", 1)[1].splitlines()[0])
    known = translations.texts(language)
    assert label == known["The same seed and settings give the same result"]
    assert operator == known["Regenerate Region"]
    assert fault == known['The picture "{0}" does not exist: choose another file.'].replace("{0}", "a.png")
    assert foreign == "No sentence of ours."


def test_ctrl_c_finishes_the_object_that_is_being_made(blender, installed, fake_python, tmp_path):
    """Blender has a handler of its own for the first one, in the background."""
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG + b"steady")
    (folder / "b.png").write_bytes(PNG + b"ball")
    batch = blender.start(
        *("--background", "--python", _script(installed), "--", "--input", folder, "--output", out, "--ply"),
        TRELLIS_PYTHON=fake_python,
        **installed,
    )
    wait_until(lambda: "Shaping" in batch.stderr.readline())
    batch.send_signal(signal.SIGINT)
    said = batch.communicate(timeout=300)
    assert batch.returncode == 1, said
    lines = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    assert [(one["name"], one["status"]) for one in lines] == [("a", "made")]
    assert "Ctrl-C" in said[1] and "1 of 2 made." in said[0]
