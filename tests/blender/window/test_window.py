"""The built zip, installed in a real Blender with a window: pressed, watched, cancelled, killed."""

import json
import stat
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]

NO_FREEZE_SECONDS = 0.5


@pytest.fixture
def fake_python(tmp_path):
    """An interpreter whose backend is fake_backend.py."""
    path = tmp_path / "python"
    fake = CHECKOUT / "tests" / "blender" / "fake_backend.py"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake}"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def installed(blender, tmp_path):
    """The extension, built from this checkout and enabled in a user folder of its own."""
    archive = tmp_path / "trellis.zip"
    user = {"BLENDER_USER_RESOURCES": tmp_path / "user", "HOME": tmp_path, "XDG_RUNTIME_DIR": tmp_path}
    command = ("--command", "extension")
    built = blender.run(*command, "build", "--source-dir", CHECKOUT, "--output-filepath", archive, **user)
    assert archive.exists(), built.stdout + built.stderr
    valid = blender.run(*command, "validate", archive, **user)
    assert valid.returncode == 0, valid.stdout + valid.stderr
    added = blender.run(*command, "install-file", "-r", "user_default", "-e", archive, **user)
    assert added.returncode == 0, added.stdout + added.stderr
    return user


def test_everything_a_person_does(blender, installed, fake_python, tmp_path):
    pictures = {"picture": b"steady", "slow": b"slow"}
    for name, data in pictures.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    plan = {name: str(tmp_path / f"{name}.png") for name in pictures}
    plan |= {"shots": str(tmp_path), "report": str(tmp_path / "report.json"), "seconds": 60}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    drive = CHECKOUT / "tests" / "blender" / "window" / "drive.py"
    said = blender.run(
        *("-p", "0", "0", "1280", "800", "--python", drive, "--", tmp_path / "plan.json"),
        window=True,
        TRELLIS_PYTHON=fake_python,
        **installed,
    )
    assert (tmp_path / "report.json").exists(), said.stdout[-3000:] + said.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert "error" not in report, report["error"]
    _check(report)
    assert "Traceback" not in said.stdout + said.stderr


def _check(report: dict) -> None:
    assert report["enabled"]
    assert report["turns"] > 10 and report["gap"] < NO_FREEZE_SECONDS
    assert report["turns_while_starting"] > 10 and report["gap_while_starting"] < NO_FREEZE_SECONDS
    assert report["made"] == report["selected"] == ["picture", "picture Gaussians"]
    assert not report["fault"]
    assert report["after_undo"] == report["before"]
    assert report["after_redo"] == sorted([*report["before"], *report["made"]])
    assert report["cancel_seconds"] < 2.0 and report["alive_after_cancel"]
    assert "stopped" in report["fault_after_kill"]
    assert report["made_after_kill"]
    assert report["made_in_new_file"] == ["picture", "picture Gaussians"]
