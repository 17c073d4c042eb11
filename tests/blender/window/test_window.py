"""The built zip, installed in a real Blender with a window: pressed, watched, cancelled, killed."""

from pathlib import Path

from blender_trellis.protocol.pictures import PNG

CHECKOUT = Path(__file__).resolve().parents[3]


def test_everything_a_person_does(blender, installed, fake_python, tmp_path):
    pictures = {"picture": b"steady", "slow": b"slow"}
    for name, data in pictures.items():
        (tmp_path / f"{name}.png").write_bytes(PNG + data)
    plan = {name: str(tmp_path / f"{name}.png") for name in pictures}
    report, said = blender.drive("drive.py", plan, tmp_path, TRELLIS_PYTHON=fake_python, **installed)
    _check(report)
    assert "Traceback" not in said


def _check(report: dict) -> None:
    assert report["enabled"]
    # A window that waits for its backend is frozen: it would come round once or twice.
    assert report["turns"] > 3 and report["turns_while_starting"] > 3
    assert report["made"] == ["picture", "picture Gaussians", "picture Raw", "picture Root"]
    assert report["selected"] == ["picture", "picture Root"]  # Gaussians and raw mesh are hidden
    assert not report["fault"]
    assert report["after_undo"] == report["before"]
    assert report["after_redo"] == sorted([*report["before"], *report["made"]])
    assert report["idle_after_cancel"] and report["alive_after_cancel"]
    assert "stopped" in report["fault_after_kill"]
    assert report["made_after_kill"]
    assert report["made_in_new_file"] == report["made"]
    assert report["child_after_disable"] is not None and not report["left_after_disable"]
    assert len(report["made_after_enable"]) == len(report["made"])
