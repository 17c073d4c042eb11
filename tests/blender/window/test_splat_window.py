"""Splats in a real Blender with a window: points while a view moves, and what EEVEE renders."""

import json
from pathlib import Path

import bpy
import numpy as np
from splat_reference import ANGLE, CAMERA, SIZE, cloud, psnr, rasterised

from blender_trellis.scene.gaussians.edit import FROM_FILE
from blender_trellis.splats.ply import write_ply
from blender_trellis.splats.values import Splats

DRIVE = Path(__file__).with_name("drive_splats.py")


def test_many_splats_are_points_while_a_view_moves_and_eevee_draws_splats(blender, installed, tmp_path):
    splats = cloud(300)
    write_ply(tmp_path / "few.ply", splats)
    many = {name: np.repeat(value, 400, axis=0) for name, value in vars(splats).items()}
    many["position"] = many["position"] + np.random.default_rng(0).normal(0, 0.05, many["position"].shape)
    write_ply(
        tmp_path / "many.ply", Splats(**{name: value.astype(np.float32) for name, value in many.items()})
    )
    plan = {"shots": str(tmp_path), "report": str(tmp_path / "report.json"), "seconds": 120}
    plan |= {"few": str(tmp_path / "few.ply"), "many": str(tmp_path / "many.ply"), "size": SIZE}
    plan |= {"angle": ANGLE, "camera": [list(row) for row in CAMERA], "picture": str(tmp_path / "eevee.png")}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    said = blender.run(
        *("-p", "0", "0", "1280", "800", "--python", DRIVE, "--", tmp_path / "plan.json"),
        window=True,
        **installed,
    )
    assert (tmp_path / "report.json").exists(), said.stdout[-3000:] + said.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert "error" not in report, report["error"]
    assert "BOUNDS" in report["while_moving"]
    assert report["when_saved"] == report["at_rest"] == "TEXTURED"
    assert not report["left_over"]
    pixels = np.array(bpy.data.images.load(plan["picture"]).pixels).reshape(SIZE, SIZE, 4)[::-1]
    expected = rasterised(splats, FROM_FILE["NEGATIVE_Y"].inverted() @ CAMERA)
    assert psnr(pixels[..., :3] * pixels[..., 3:], expected) > 25
