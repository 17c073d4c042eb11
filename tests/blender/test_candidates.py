"""Structures to choose from: nothing enters the scene before one is picked, and what then comes is whole."""

from pathlib import Path
from unittest.mock import Mock

import bpy
import numpy as np
import pytest
from mathutils import Vector

from blender_trellis.jobs import session
from blender_trellis.scene.find_asset import part
from blender_trellis.scene.latents import read_latents
from blender_trellis.scene.placement import Bounds
from blender_trellis.ui.candidates import drawing
from blender_trellis.ui.candidates.gizmo import first_hit
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
REAL = ROOT / ".venv" / "bin" / "python"


def _make(path, count: int = 3) -> tuple:
    settings = bpy.context.scene.trellis
    settings.picture, settings.candidates = str(path), count
    assert bpy.ops.trellis.make_candidates() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE)
    assert not session.status().fault
    return session.candidates()


def test_each_seed_gives_a_numbered_shape_and_nothing_enters_the_scene(addon, picture):
    bpy.context.scene.trellis.seed = 2**31 - 2
    found = _make(picture())
    assert [one.number for one in found] == [1, 2, 3]
    assert [one.request.seed for one in found] == [2**31 - 2, 0, 1]  # the field ends at 2³¹ - 2
    assert not bpy.data.objects and not bpy.data.meshes
    assert [one.number for one in _make(picture(), 2)] == [1, 2, 3, 4, 5]


def test_candidates_stand_side_by_side_and_beside_what_is_there(addon, picture):
    bpy.ops.mesh.primitive_cube_add(size=1)
    _make(picture())
    boxes = []
    for one in drawing.drawn(bpy.context):
        corners = np.array(one.corners())
        boxes.append(Bounds(corners.min(axis=0), corners.max(axis=0)))
    cube = Bounds(np.full(3, -0.5), np.full(3, 0.5))
    boxes.append(cube)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_the_number_of_a_picked_shape_can_be_read_on_it(addon, picture, monkeypatch):
    found, colors = _make(picture()), []
    bpy.ops.trellis.pick_candidate(candidate=found[1].id)
    monkeypatch.setattr(drawing.view3d_utils, "location_3d_to_region_2d", lambda *_: Vector((50.0, 50.0)))
    library = Mock(dimensions=lambda font, text: (9.0, 9.0))  # Blender's own draws in a window alone
    library.color = lambda font, *color: colors.append(color[:3])
    monkeypatch.setattr(drawing, "blf", library)
    drawing._draw_numbers()
    assert len(colors) == 3
    assert all(np.linalg.norm(np.subtract(color, drawing.PICKED)) > 0.9 for color in colors)


def test_a_click_picks_the_shape_in_front(addon, picture):
    _make(picture())
    shown = drawing.drawn(bpy.context)
    middles = [sum(one.corners(), Vector()) / 8 for one in shown]
    for eye, first in ((middles[0] - Vector((9, 0, 0)), 0), (middles[2] + Vector((9, 0, 0)), 2)):
        assert first_hit(shown, eye, (middles[1] - eye).normalized()) == first  # all are in a row
    above = Vector((0, 0, 9))
    assert [first_hit(shown, one + above, -above) for one in middles] == [0, 1, 2]
    assert first_hit(shown, middles[0] + above, above) is None  # behind the eye
    assert first_hit(shown, middles[0] + above, Vector((1, 0, 0))) is None


def test_what_is_picked_is_finished_where_it_stood_and_the_others_stay(addon, picture):
    found = _make(picture())
    assert not bpy.ops.trellis.finish_picked.poll()
    bpy.ops.trellis.pick_candidate(candidate=found[1].id)
    bpy.ops.trellis.pick_candidate(candidate=found[2].id)
    bpy.ops.trellis.pick_candidate(candidate=found[2].id)  # and no longer
    shown = drawing.drawn(bpy.context)
    bpy.ops.trellis.finish_picked()
    assert session.pump_until_done(PATIENCE)
    collection = bpy.data.collections["crate"]
    assert collection["trellis_seed"] == found[1].request.seed
    assert np.allclose(part(collection, "root").location, shown[1].foot, atol=0.02)  # of voxels, not vertices
    assert [one.number for one in session.candidates()] == [1, 3]
    bpy.ops.trellis.discard_candidates()
    assert not session.candidates() and len(bpy.data.collections) == 1


def test_discard_drops_those_to_come(addon, picture):
    settings = bpy.context.scene.trellis
    settings.picture = str(picture(b"slow"))
    bpy.ops.trellis.make_candidates()
    bpy.ops.trellis.discard_candidates()
    assert session.pump_until_done(PATIENCE)
    assert not session.candidates() and not session.status().fault


@pytest.mark.skipif(not REAL.exists(), reason="the backend's environment is not set up")
def test_a_finished_candidate_is_what_generate_makes_of_its_seed(monkeypatch, tmp_path):
    import blender_trellis

    monkeypatch.setenv("TRELLIS_PYTHON", str(REAL))
    monkeypatch.setenv("HOME", str(tmp_path))
    blender_trellis.register()
    try:
        settings = bpy.context.scene.trellis
        settings.formats, settings.finish.preset = {"gaussian"}, "raw"
        first, second = _make(ROOT / "docs" / "pictures" / "mushroom.png", 2)
        bpy.ops.trellis.pick_candidate(candidate=second.id)
        bpy.ops.trellis.finish_picked()
        settings.seed = second.request.seed
        bpy.ops.trellis.generate()
        assert session.pump_until_done(1200.0)
        picked, generated = bpy.data.collections
        for name, values in read_latents(generated).arrays.items():
            assert np.array_equal(read_latents(picked).arrays[name], values), name
        assert not np.array_equal(read_latents(picked).arrays["structure_latent"], first.latent)
        for key in ("parameters", "seed", "model_hash", "picture_hash"):
            assert picked[f"trellis_{key}"] == generated[f"trellis_{key}"]
    finally:
        blender_trellis.unregister()
