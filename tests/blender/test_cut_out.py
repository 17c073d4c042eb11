"""The preview of the cut-out: asked for beside the jobs, and shown while it is that of the picture."""

import bpy
import pytest

from blender_trellis.backend_settings import backend_settings
from blender_trellis.jobs import session
from blender_trellis.protocol.pictures import PNG
from blender_trellis.scene.latents import read_latents
from blender_trellis.ui import thumbnails
from blender_trellis.ui.finish.operators import finish_request
from blender_trellis.ui.input.cut_out import shown_cut_out
from blender_trellis.ui.input.pictures import put_picture
from blender_trellis.ui.region.guide import own_guide
from blender_trellis.ui.vary.request import start_of_asset, vary_request


@pytest.fixture
def settings(addon):
    return bpy.context.scene.trellis


def _shown(settings):
    assert session.pump_until_done(60)
    return shown_cut_out(settings)


def test_it_follows_the_picture_and_how_its_background_goes(settings, picture):
    settings.picture = str(picture())
    assert session.cut_out() is None and not session.is_running()  # nobody asked
    settings.shows_cut_out = True
    seen = _shown(settings)
    assert seen.pixels.shape == (8, 8, 3) and (seen.pixels == [0, 0, 255]).all()
    settings.background = "keep"
    seen = _shown(settings)
    assert (seen.pixels == [0, 255, 0]).all()
    former = seen.job
    put_picture(settings, picture(b"other", "other.png"))
    assert shown_cut_out(settings).pixels is None  # the former one is no more shown
    assert _shown(settings).job != former
    settings.shows_cut_out = False
    assert shown_cut_out(settings) is None


def test_it_is_no_job_and_needs_no_picture_of_its_own_for_a_second_look(settings, picture):
    settings.shows_cut_out = True
    settings.picture = str(picture())
    job = _shown(settings).job
    assert not session.listed_jobs() and not bpy.data.collections
    put_picture(settings, picture(b"two", "two.png"), add=True)
    settings.active_picture = 0
    settings.active_picture = 0
    again = _shown(settings)
    settings.shows_cut_out = True
    assert _shown(settings).job == again.job != job
    bpy.ops.trellis.refresh_cut_out()
    assert _shown(settings).job != again.job


def test_it_comes_while_a_job_runs(settings, picture):
    settings.picture = str(picture(b"slow", "slow.png"))
    bpy.ops.trellis.generate()
    settings.shows_cut_out = True
    while not session.cut_out().ended:
        session.timer.tick()
    assert shown_cut_out(settings).pixels is not None and session.status().job
    session.cancel()
    assert session.pump_until_done(60)


@pytest.mark.parametrize(
    ("data", "words"), [(PNG + b"bad", "crate.png is no picture."), (b"text", "no picture that can be read")]
)
def test_what_is_wrong_with_a_picture_is_said_in_its_place(settings, picture, data, words):
    file = picture()
    file.write_bytes(data)
    settings.shows_cut_out = True
    settings.picture = str(file)
    seen = _shown(settings)
    assert words in seen.fault and seen.pixels is None and not session.status().fault


def test_a_backend_that_dies_of_it_leaves_a_sentence(settings, picture):
    settings.shows_cut_out = True
    settings.picture = str(picture(b"die"))
    seen = _shown(settings)
    assert seen.ended and seen.fault and "\n" not in seen.fault
    settings.picture = str(picture(b"ball", "next.png"))
    assert _shown(settings).pixels is not None


def test_an_assets_own_picture_is_always_cut_out_as_it_was(settings, picture):
    settings.picture = str(picture())
    settings.background = "plain"
    bpy.ops.trellis.generate()
    assert session.pump_until_done(60)
    collection = bpy.data.collections["crate"]
    assert '"background": "plain"' in collection["trellis_parameters"]
    settings.background = "keep"
    assert own_guide(collection).background == "plain"
    assert finish_request(collection, "starter", bpy.context).background == "plain"
    start = start_of_asset(read_latents(collection))
    request = vary_request(start, own_guide(collection), 1, None, False, ("mesh",), backend_settings())
    assert request.background == "plain"
    collection["trellis_history"] = "[]"  # of one that was made before there was a choice
    assert own_guide(collection).background == "auto"


def test_the_icon_shows_the_pixels(settings, picture):
    settings.shows_cut_out = True
    settings.picture = str(picture())
    seen = _shown(settings)
    thumbnails.icon_of_pixels(seen.job, seen.pixels)  # which has no number without a window
    preview = thumbnails._cut_out[seen.job]
    assert tuple(preview.image_size) == (4, 4)
    assert list(preview.image_pixels_float[:4]) == [0, 0, 1, 1]
