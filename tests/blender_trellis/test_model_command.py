"""Commands on models, by a stand-in for the backend's command."""

import threading
from pathlib import Path

import pytest

from blender_trellis.faults import Fault
from blender_trellis.install.model_command import STOPPED, run_models


@pytest.mark.parametrize(
    ("word", "sentence", "left"),
    [
        ("import", "Stopped; what was half copied is removed.", ["another.import", "other"]),
        ("download", STOPPED, ["another.import", "other", "small.import"]),
    ],
)
def test_a_cancelled_import_takes_away_what_is_its_own(
    tmp_path: Path, word: str, sentence: str, left: list[str]
) -> None:
    python, models = tmp_path / "python", tmp_path / "models"
    for name in ("other", "another.import"):
        (models / ".arriving" / name).mkdir(parents=True)
    python.write_text(
        f"#!/bin/sh\nmkdir {models}/.arriving/small.import\n"
        'echo \'{"name": "small", "file": "a", "done": 1, "total": 2}\'\nexec sleep 100\n'
    )
    python.chmod(0o755)
    cancelled = threading.Event()
    words = (word, "small", "--models", str(models))
    with pytest.raises(Fault) as stopped:
        run_models(python, tmp_path, words, lambda *_: cancelled.set(), cancelled)
    assert str(stopped.value) == sentence
    assert sorted(path.name for path in (models / ".arriving").iterdir()) == left
