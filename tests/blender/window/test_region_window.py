"""Parts of an asset changed in a real Blender with a window, by the real backend and the bundled model."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def backend(blender):
    """The Blender that can start the backend's own environment, and that environment's interpreter."""
    environment = (CHECKOUT / ".venv").resolve()
    python = environment / "bin" / "python"
    if not python.exists():
        pytest.skip("the backend's environment is not set up")
    told = subprocess.run(
        [python, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True
    )
    folders = (*blender.folders, environment, Path(told.stdout.strip()))
    return replace(blender, folders=folders), python


def test_a_region_is_added_moved_regenerated_and_undone(backend, installed, tmp_path):
    blender, python = backend
    pictures = CHECKOUT / "docs" / "pictures"
    plan = {"picture": str(pictures / "mushroom.png"), "guide": str(pictures / "chair.png")}
    plan |= {"blend": str(tmp_path / "asset.blend")}
    report, said = blender.drive(
        "drive_region.py", plan, tmp_path, TRELLIS_PYTHON=python, OMP_NUM_THREADS=1, **installed
    )
    _check(report)
    assert "Traceback" not in said


def _check(report: dict) -> None:
    faults = {name: report[name] for name in report if name.endswith("_fault")}
    assert len(faults) == 3 and not any(faults.values()), faults
    name, *before = report["added"]
    moved, undone = report["dragged"], report["drag_undone"]
    assert name == moved[0] == undone[0] == "Region"
    assert undone[1:] == pytest.approx(before)
    top = [one[2] + one[5] for one in (before, moved[1:])]
    assert top[0] == pytest.approx(top[1], abs=1e-5)  # the face that was not grabbed stays
    assert 0.2 < moved[6] / before[5] < 0.8
    for outside, kept, earlier, now in report["removed"].values():
        assert outside > 1000 and kept == outside and now < 0.9 * earlier
    assert report["undone"] and report["redone"] and report["reopened"]
    assert report["texture_changed"] and report["texture_undone"] and report["texture_reopened"]
    assert report["rendered"]["share"] > 0.03 and report["rendered"]["spread"] > 0.05, report["rendered"]
    assert report["look_changed"] and report["history"] == ["generate", "remove", "look"]
    assert "stopped" in report["fault_after_kill"] and report["untouched_after_kill"]
