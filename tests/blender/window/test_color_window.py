"""A yellow picture gives what is yellow on the screen of a real Blender with its own settings."""

import colorsys

from fake_backend import YELLOW
from splat_reference import cloud

from blender_trellis.protocol.pictures import PNG
from blender_trellis.splats.ply import write_ply

HUE, SATURATION, _ = colorsys.rgb_to_hsv(*(value / 255 for value in YELLOW))


def test_a_yellow_asset_is_yellow_in_material_preview_and_in_solid_view(
    blender, installed, fake_python, tmp_path
):
    (tmp_path / "yellow.png").write_bytes(PNG + b"yellow")
    write_ply(tmp_path / "splats.ply", cloud(100))
    plan = {"picture": str(tmp_path / "yellow.png"), "splats": str(tmp_path / "splats.ply")}
    report, said = blender.drive("drive_colors.py", plan, tmp_path, TRELLIS_PYTHON=fake_python, **installed)
    is_bright = tuple(map(int, report["version"].split(".")[:2])) >= (5, 0)
    assert report["off"] == ["AgX", "", [1.0]]
    transform, note, strengths = report["on"]
    assert transform == "Standard" and "Standard" in note and strengths == [0.75 if is_bright else 1.0]
    assert report["undone"] == ["AgX", ["Camera", "Cube", "Light"]] and report["redone"] == "Standard"
    assert report["set_back"] == "AgX" and report["asked_for"] == "Standard"
    for name in ("preview_texture", "preview_vertices"):
        hue, saturation, _ = report[name]
        assert abs(hue - 360 * HUE) < 3 and abs(saturation - SATURATION) < 0.1, name
    assert (report["solid_before"], report["solid_after"]) == ("VERTEX", "TEXTURE")
    for name in ("solid_texture", "solid_vertices", "solid_finished"):
        hue, saturation, _ = report[name]  # Solid view has its own lights, with highlights
        assert abs(hue - 360 * HUE) < 3 and saturation > 0.6, name
    assert report["splats"] == "Raw"
    assert "Traceback" not in said
