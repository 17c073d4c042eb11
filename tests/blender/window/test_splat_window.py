"""Splats in a real Blender with a window: points while a view moves, and what EEVEE renders."""

import bpy
import numpy as np
from splat_reference import ANGLE, CAMERA, SIZE, cloud, psnr, rasterised

from blender_trellis.scene.gaussians.edit import FROM_FILE
from blender_trellis.splats.ply import write_ply
from blender_trellis.splats.values import Splats


def test_many_splats_are_points_while_a_view_moves_and_eevee_draws_splats(blender, installed, tmp_path):
    splats = cloud(300)
    write_ply(tmp_path / "few.ply", splats)
    many = {name: np.repeat(value, 400, axis=0) for name, value in vars(splats).items()}
    many["position"] = many["position"] + np.random.default_rng(0).normal(0, 0.05, many["position"].shape)
    write_ply(
        tmp_path / "many.ply", Splats(**{name: value.astype(np.float32) for name, value in many.items()})
    )
    plan = {
        "seconds": 120,
        "few": str(tmp_path / "few.ply"),
        "many": str(tmp_path / "many.ply"),
        "size": SIZE,
    }
    plan |= {"angle": ANGLE, "camera": [list(row) for row in CAMERA], "picture": str(tmp_path / "eevee.png")}
    report, _ = blender.drive("drive_splats.py", plan, tmp_path, **installed)
    assert "BOUNDS" in report["while_moving"]
    assert report["when_saved"] == report["at_rest"] == "TEXTURED"
    assert not report["left_over"]
    pixels = np.array(bpy.data.images.load(plan["picture"]).pixels).reshape(SIZE, SIZE, 4)[::-1]
    expected = rasterised(splats, FROM_FILE["NEGATIVE_Y"].inverted() @ CAMERA)
    assert psnr(pixels[..., :3] * pixels[..., 3:], expected) > 25
