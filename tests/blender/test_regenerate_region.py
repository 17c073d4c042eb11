"""From "Add Region" to the changed asset, with a backend that only pretends, whether all goes well or not."""

import json

import bpy
import numpy as np
import pytest
from test_region import add_ball, add_region, ball_latents

from blender_trellis.jobs import session
from blender_trellis.protocol import Edit
from blender_trellis.scene.find_asset import part
from blender_trellis.scene.latents import DATA, LATENTS, read_latents
from blender_trellis.ui.finish.operators import _why_not as why_not_finish
from blender_trellis.ui.region import drawing, panel, reasons
from blender_trellis.ui.vary.reasons import why_not_vary
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def generated(addon, picture) -> bpy.types.Collection:
    """An asset that the fake backend made, with a region round its upper half."""
    bpy.context.scene.trellis.picture = str(picture(b"ball", "ball.png"))
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE)
    collection = bpy.data.collections["ball"]
    bpy.context.view_layer.objects.active = part(collection, "mesh")
    box = add_region()
    box.location.z, box.scale.z = 0.2, 0.21
    bpy.context.view_layer.update()
    return collection


def _guide(data: bytes) -> None:
    """Takes a picture with this content as guide."""
    image = bpy.data.images.new("guide.png", 1, 1)
    image.pack(data=data, data_len=len(data))
    image.source = "FILE"
    bpy.context.scene.trellis.region.guide, bpy.context.scene.trellis.region.image = "PICTURE", image


def _values(collection: bpy.types.Collection) -> dict[str, np.ndarray]:
    """All that an edit may change."""
    found = {}
    for kind, name, item, width in (("mesh", "Color", "color", 4), ("gaussian", "f_dc_0", "value", 1)):
        data = part(collection, kind).data
        found[kind] = np.array([(*one.co,) for one in data.vertices])
        looks = np.empty(width * len(data.vertices), np.float32)
        data.attributes[name].data.foreach_get(item, looks)
        found[f"{kind} looks"] = looks
    return found | dict(read_latents(collection).arrays)


def _assert_untouched(collection: bpy.types.Collection, before: dict[str, np.ndarray]) -> None:
    for name, values in _values(collection).items():
        np.testing.assert_array_equal(values, before[name])
    assert [step["mode"] for step in json.loads(collection["trellis_history"])] == ["generate"]
    assert len([one for one in bpy.data.collections if "trellis_parameters" in one]) == 1


def _sent(monkeypatch) -> list[Edit]:
    sent = []
    submit = session.submit
    monkeypatch.setattr(
        session, "submit", lambda request, place: (sent.append(request), submit(request, place))
    )
    return sent


def test_what_was_made_anew_is_not_covered_until_its_region_moves(generated):
    def covered() -> bool:
        bpy.context.view_layer.update()
        assert drawing.taken_by(generated, bpy.context.view_layer) is not None
        return not drawing.is_settled()

    assert covered()
    _guide(b"another")
    assert bpy.ops.trellis.regenerate_region() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    assert not covered() and not covered()
    box = bpy.context.object
    box.location.z += 0.01
    assert covered()
    box.location.z -= 0.01
    assert covered()


def test_one_click_changes_the_same_asset(generated, monkeypatch):
    sent = _sent(monkeypatch)
    settings = bpy.context.scene.trellis.region
    settings.margin = 3
    _guide(b"another")
    assert bpy.ops.trellis.regenerate_region() == {"FINISHED"}
    assert session.status().job
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    (request,) = sent
    assert isinstance(request, Edit) and (request.mode, request.margin, request.start) == (
        "replace",
        3,
        "guide",
    )
    assert bytes(request.pictures[0].data) == b"another" and request.picture_names == ("guide.png",)
    np.testing.assert_allclose(np.reshape(request.boxes, (4, 4))[2], [0, 0, 0.21, 0.2], atol=1e-6)
    assert request.formats == ("mesh", "gaussian")
    assert [step["mode"] for step in json.loads(generated["trellis_history"])] == ["generate", "replace"]
    assert [one.name for one in bpy.data.collections if "trellis_parameters" in one] == ["ball"]
    assert reasons.why_not_now(bpy.context) == ""  # and again from here


def test_the_latents_go_back_as_they_came(generated, monkeypatch):
    sent = _sent(monkeypatch)
    latents = read_latents(generated)
    bpy.context.scene.trellis.region.mode = "remove"
    bpy.ops.trellis.regenerate_region()
    assert session.pump_until_done(PATIENCE)
    (request,) = sent
    for name, values in latents.arrays.items():
        assert bytes(request.arrays[name].data) == values.tobytes()
        assert request.arrays[name].shape == values.shape
    assert (request.model, request.model_hash) == (latents.model, latents.model_hash)
    assert (request.resolution, request.structure_resolution) == (64, 64)
    assert not request.pictures and not request.prompt


@pytest.mark.parametrize(
    "data, words", [(b"die", "stopped"), (b"bad", "is no picture"), (b"garbage", "index")]
)
def test_an_edit_that_fails_leaves_the_asset_untouched(generated, data, words):
    before = _values(generated)
    _guide(data)
    bpy.ops.trellis.regenerate_region()
    assert session.pump_until_done(PATIENCE)
    assert words in session.status().fault
    _assert_untouched(generated, before)
    assert bpy.ops.trellis.regenerate_region.poll()


def test_a_cancelled_edit_leaves_the_asset_untouched(generated):
    before = _values(generated)
    _guide(b"slow")
    bpy.ops.trellis.regenerate_region()
    wait_until(lambda: session.status().stage == "sparse_structure", meanwhile=session.timer.tick)
    assert "being changed" in reasons.why_not_now(bpy.context)
    bpy.ops.trellis.cancel()
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    _assert_untouched(generated, before)


def test_the_former_version_can_be_kept(generated):
    before = {name: values for name, values in _values(generated).items() if name in ("mesh", "gaussian")}
    bpy.context.scene.trellis.region.keeps_former = True
    bpy.context.scene.trellis.region.mode = "remove"
    bpy.ops.trellis.regenerate_region()
    assert session.pump_until_done(PATIENCE)
    former = next(child for child in generated.children if part(child, "mesh") is not None)
    assert former.hide_viewport
    np.testing.assert_array_equal(_values(former)["mesh"], before["mesh"])


def test_a_model_that_only_polishes_wants_something_new_to_be_given(generated):
    assert "nearly the same for every seed" in reasons.why_not_now(bpy.context)
    bpy.context.scene.trellis.region.mode = "remove"
    assert reasons.why_not_now(bpy.context) == ""
    bpy.ops.trellis.regenerate_region()
    assert session.pump_until_done(PATIENCE)
    bpy.context.scene.trellis.region.mode = "add"  # the picture shows what is not there any more
    assert reasons.why_not_now(bpy.context) == ""


def test_a_setting_without_effect_is_grey_with_its_reason(generated):
    from test_panels import _drawn

    settings, info = bpy.context.scene.trellis.region, session.model_info("starter")
    drawn = _drawn(panel.draw_sampling, settings, info, 80)
    active = {name.removeprefix("own_"): shown for name, shown in drawn}
    active = {name: active[name] for name in panel.SAMPLING}
    assert active == {"start": False, "strength": False, "jumps": False, "growth": True, "margin": True}
    assert ("How the steps are spaced changes next to nothing.", False) in drawn
    shown = {
        name.removeprefix("own_") for name, shown in _drawn(panel.draw_sampling, settings, None, 80) if shown
    }
    assert shown >= set(panel.SAMPLING)
    settings.mode = "look"
    assert ("growth", False) in _drawn(panel.draw_sampling, settings, info, 80)


# ---- what cannot be asked for, one sentence each, before any job starts


def _why() -> str:
    bpy.context.view_layer.update()
    reason = reasons.why_not_now(bpy.context)
    assert bool(reason) != bpy.ops.trellis.regenerate_region.poll()
    return reason


def test_each_fault_has_its_sentence(addon):
    assert _why() == "Select an asset or one of its regions"
    collection = add_ball()
    assert "Add a region" in _why()
    box = add_region()
    bpy.context.scene.trellis.region.prompt = "a ball"
    assert "whole asset" in _why() and reasons.is_around_everything(_why())
    box.location, box.scale = (0.0, 0.0, 0.4), (0.5, 0.5, 0.1)
    assert _why() == ""
    box.scale = (0.001, 0.001, 0.001)
    assert "1/32 of the asset's space" in _why()
    bpy.context.scene.trellis.region.mode = "look"
    box.location, box.scale = (0.0, 0.0, 0.0), (0.1, 0.1, 0.1)
    assert "nothing of the asset in the region" in _why()
    bpy.context.scene.trellis.region.mode = "remove"
    box.scale = (1.0, 1.0, 1.0)
    assert "Nothing would be left" in _why()
    del collection[DATA][LATENTS]
    assert "does not carry" in _why()


@pytest.mark.parametrize("size, words", [(1.0, "35 cm"), (10.0, "3.5 m")])
def test_a_region_outside_says_how_far_off_it_is(addon, size, words):
    from mathutils import Matrix

    add_ball(Matrix.Scale(size, 4))
    box = add_region()
    box.location, box.scale = (0.0, 0.95, 0.0), (0.1, 0.1, 0.1)
    assert words in _why() and "move it onto the asset" in _why()


def test_an_asset_of_a_model_that_is_not_here_names_it(addon):
    from dataclasses import replace

    add_ball(latents=replace(ball_latents(), model="large"))
    add_region().scale.z = 0.2
    assert 'model "large"' in _why()


def test_a_guide_that_is_missing_or_not_taken_is_named(addon):
    add_ball(pictures=())
    add_region().scale.z = 0.2
    settings = bpy.context.scene.trellis.region
    assert "no picture of its own" in _why()
    for guide, words in (
        ("PICTURE", "Choose a picture"),
        ("PAINTED", "Paint the change"),
        ("SENTENCE", "takes no"),
    ):
        settings.guide = guide
        assert words in _why()


def test_damaged_latents_are_named_and_nothing_is_sent(addon):
    collection = add_ball()
    add_region().scale.z = 0.2
    collection[DATA][LATENTS] = b"PK nothing"
    assert "damaged" in _why()
    with pytest.raises(RuntimeError):
        bpy.ops.trellis.regenerate_region()
    assert not session.status().job


def test_in_edit_mode_the_buttons_are_grey(generated):
    mesh, settings = part(generated, "finished"), bpy.context.scene.trellis
    settings.region.mode, settings.vary.guide = "remove", "PICTURE"
    settings.vary.image = bpy.data.images.new("red.png", 4, 4)
    bpy.context.view_layer.objects.active = mesh
    mesh.select_set(True)
    names = ("regenerate_region", "paint_change", "finish", "mark_asset", "vary")
    buttons = [getattr(bpy.ops.trellis, name) for name in names]
    assert all(button.poll() for button in buttons)
    bpy.ops.object.mode_set(mode="EDIT")
    assert not any(button.poll() for button in buttons)
    said = (reasons.why_not_now, why_not_vary, why_not_finish)
    assert {why_not(bpy.context) for why_not in said} == {"Leave edit mode first"}
    bpy.ops.object.mode_set(mode="SCULPT")
    assert all(button.poll() for button in buttons)
    bpy.ops.object.mode_set(mode="OBJECT")
