"""Pictures of the 3D view, drops and cut-outs in a real Blender with a window."""

from blender_trellis.protocol.pictures import PNG


def test_the_view_a_drop_and_a_cut_out(blender, installed, fake_python, tmp_path):
    file = tmp_path / "crate.png"
    file.write_bytes(PNG + b"ball")
    plan = {"seconds": 120, "picture": str(file)}
    report, said = blender.drive("drive_input.py", plan, tmp_path, TRELLIS_PYTHON=fake_python, **installed)
    for taken in (report["all"], report["selected"]):
        assert taken["size"] == [1024, 1024] and taken["corners"] == [0, 0, 0, 0] and taken["packed"]
        assert taken["color_spread"] < 40  # no axis, no outline, no grid: the cubes are grey
        assert taken["overlays"] and not taken["hidden"]
    # One cube fills its square; two side by side leave more of it clear.
    assert report["selected"]["share"] > 0.5 > report["all"]["share"] > 0.1
    assert report["drop"] == ["INTERFACE"]  # a menu: there is more than one thing to do with it
    assert report["before"] == 0 and report["after"] > 2000
    assert "Traceback" not in said
