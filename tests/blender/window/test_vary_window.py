"""New colours and variants in a real Blender with a window: each is one undo step."""


def test_colours_and_variants_are_one_undo_step_each(blender, installed, fake_python, tmp_path):
    plan = {"seconds": 120}
    report, said = blender.drive("drive_vary.py", plan, tmp_path, TRELLIS_PYTHON=fake_python, **installed)
    assert not report["retexture_fault"] and not report["vary_fault"]
    colors, collections = report["before"]
    colored = [[*colors, "Retexture"], collections]
    assert report["retexture"] == [colored, report["before"], colored]
    varied = [colored[0], sorted([*collections, "Cube Variant"])]
    assert report["vary"] == [varied, colored, varied]
    assert "Traceback" not in said
