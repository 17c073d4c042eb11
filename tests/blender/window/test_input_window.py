"""Pictures of the 3D view, drops and cut-outs in a real Blender with a window."""

import json
from pathlib import Path

from blender_trellis.protocol.pictures import PNG

DRIVE = Path(__file__).with_name("drive_input.py")


def test_the_view_a_drop_and_a_cut_out(blender, installed, fake_python, tmp_path):
    file = tmp_path / "crate.png"
    file.write_bytes(PNG + b"ball")
    plan = {"shots": str(tmp_path), "report": str(tmp_path / "report.json"), "seconds": 120}
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"picture": str(file)}))
    said = blender.run(
        *("-p", "0", "0", "1280", "800", "--python", DRIVE, "--", tmp_path / "plan.json"),
        window=True,
        TRELLIS_PYTHON=fake_python,
        **installed,
    )
    assert (tmp_path / "report.json").exists(), said.stdout[-3000:] + said.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert "error" not in report, report["error"]
    for taken in (report["all"], report["selected"]):
        assert taken["size"] == [1024, 1024] and taken["corners"] == [0, 0, 0, 0] and taken["packed"]
        assert taken["color_spread"] < 40  # no axis, no outline, no grid: the cubes are grey
        assert taken["overlays"] and not taken["hidden"]
    # One cube fills its square; two side by side leave more of it clear.
    assert report["selected"]["share"] > 0.5 > report["all"]["share"] > 0.1
    assert report["drop"] == ["INTERFACE"]  # a menu: there is more than one thing to do with it
    assert report["before"] == 0 and report["after"] > 2000
    assert "Traceback" not in said.stdout + said.stderr
