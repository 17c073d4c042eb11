"""An artist's first minutes in a real Blender with an empty profile: clicks, looks, picks, saves, opens."""

import pytest

from blender_trellis.protocol.pictures import PNG


def test_a_click_shows_the_shape_and_a_picked_one_is_kept(blender, installed, fake_python, tmp_path):
    for name in ("ball", "slow"):
        (tmp_path / f"{name}.png").write_bytes(PNG + name.encode())
    plan = {"picture": str(tmp_path / "ball.png"), "slow": str(tmp_path / "slow.png")}
    report, said = blender.drive(
        "drive_first_use.py", plan, tmp_path, TRELLIS_PYTHON=fake_python, **installed
    )
    assert report["enabled"]
    # The shape is seen in the 3D view while it is made, and nothing of it is in the scene.
    assert report["is_making"] == "sparse_structure"
    assert report["changed"] > 0.05 and report["objects_while_growing"] == 0
    assert report["changed_after_cancel"] < 0.2 * report["changed"]  # the axes may have moved a little
    assert report["picked"] == [2] and report["left_to_pick"] == [1]
    assert report["made"] == ["ball", "ball Gaussians", "ball Raw", "ball Root"]
    assert report["reopened"].keys() == report["saved"].keys() == set(report["made"])
    for name, there in report["saved"].items():
        assert report["reopened"][name] == pytest.approx(there, abs=1e-6)
    assert report["made_again"] and not report["left"]
    assert "Traceback" not in said
