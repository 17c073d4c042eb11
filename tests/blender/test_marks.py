"""Results in the Asset Browser, on request; and what the status bar says."""

import bpy
import numpy as np

from blender_trellis.jobs import session
from blender_trellis.jobs.status import Status
from blender_trellis.ui.running.status_bar import words_of
from tests.waiting import PATIENCE


def _made(path) -> bpy.types.Collection:
    settings = bpy.context.scene.trellis
    settings.picture, settings.formats = str(path), {"mesh"}
    settings.finish.preset, settings.finish.texture = "raw", "0"
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    return bpy.data.collections["crate"]


def test_a_result_is_marked_where_that_is_asked_for(addon, picture):
    marks = bpy.context.scene.trellis.marks
    marks.marks_results, marks.author, marks.license, marks.tags = True, "Ada", "CC0", "box, wood,"
    data = _made(picture()).asset_data
    assert (data.author, data.license) == ("Ada", "CC0")
    assert {"box", "wood"} <= {tag.name for tag in data.tags}
    preview = bpy.data.collections["crate"].preview
    pixels = np.empty(len(preview.image_pixels_float), np.float32)
    preview.image_pixels_float.foreach_get(pixels)
    opaque = pixels.reshape(-1, 4)[:, 3] > 0.5
    assert 0.2 < opaque.mean() < 0.9  # a ball in the middle of nothing


def test_nothing_is_marked_unless_asked_for_and_one_can_be_later(addon, picture):
    collection = _made(picture())
    assert collection.asset_data is None
    bpy.context.scene.trellis.marks.author = "Ada"
    assert bpy.ops.trellis.mark_asset() == {"FINISHED"}
    assert collection.asset_data.author == "Ada"
    bpy.context.view_layer.objects.active = None
    assert not bpy.ops.trellis.mark_asset.poll()


def test_the_status_bar_tells_of_the_job_that_runs():
    assert words_of(Status()) == ""
    status = Status("job", "crate", 0.456, "sparse_structure", "Shaping 2/4", 9, 12)
    assert words_of(status) == "crate: Shaping 2/4 46%, about 12 s left"
    status = Status("job", "crate", 0.456, "sparse_structure", "Shaping 2/4", 9, None)
    assert words_of(status) == "crate: Shaping 2/4 46%"
