"""The models that a backend told of, kept between sessions."""

from pathlib import Path

import pytest

from blender_trellis.jobs.kept.known_models import BUNDLED, FILE, read_models, write_models
from blender_trellis.protocol import FORMATS, Format, ModelInfo, ResultKind, StageInfo
from blender_trellis.protocol.formats import ARRAYS

MODELS = (
    ModelInfo(
        "owner/é",
        ("text",),
        gives=("radiance_field",),
        stages=(StageInfo("sparse_structure", 2, 0.0, 1.0, 0.03),),
        without_effect={"seed": "It starts from no noise."},
    ),
    ModelInfo("other"),
)


def test_models_come_back(tmp_path: Path) -> None:
    assert read_models(tmp_path) == BUNDLED
    write_models(tmp_path, MODELS)
    assert read_models(tmp_path) == MODELS
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "text", ["", "[", "{}", '["starter"]', '[{"name": "x", "colour": 1}]', "[" * 100_000]
)
def test_what_another_version_stored_is_left_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_models(tmp_path) == BUNDLED


def test_a_folder_that_may_not_be_written_is_no_fault(tmp_path: Path) -> None:
    write_models(tmp_path / "absent", MODELS)
    assert read_models(tmp_path / "absent") == BUNDLED


def test_the_table_of_formats_is_that_of_the_messages() -> None:
    assert set(FORMATS) == set(Format.__args__)
    assert set(ARRAYS) == set(ResultKind.__args__)
    assert len({one.suffix for one in FORMATS.values()}) == len(FORMATS)
