"""New colours and variants in a real Blender with a window: each is one undo step."""

import json
from pathlib import Path

DRIVE = Path(__file__).with_name("drive_vary.py")


def test_colours_and_variants_are_one_undo_step_each(blender, installed, fake_python, tmp_path):
    plan = {"shots": str(tmp_path), "report": str(tmp_path / "report.json"), "seconds": 120}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    said = blender.run(
        *("-p", "0", "0", "1280", "800", "--python", DRIVE, "--", tmp_path / "plan.json"),
        window=True,
        TRELLIS_PYTHON=fake_python,
        **installed,
    )
    assert (tmp_path / "report.json").exists(), said.stdout[-3000:] + said.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert "error" not in report, report["error"]
    assert not report["retexture_fault"] and not report["vary_fault"]
    colors, collections = report["before"]
    colored = [[*colors, "Retexture"], collections]
    assert report["retexture"] == [colored, report["before"], colored]
    varied = [colored[0], sorted([*collections, "Cube Variant"])]
    assert report["vary"] == [varied, colored, varied]
    assert "Traceback" not in said.stdout + said.stderr
