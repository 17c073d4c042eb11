"""Presets that come with the add-on, and one's own as files."""

from pathlib import Path

import bpy
import pytest

from blender_trellis.jobs import session
from blender_trellis.protocol import ModelInfo, SamplingParams, StageInfo
from blender_trellis.ui.input.presets import PRESETS, is_applied

NO_SAMPLING = SamplingParams()


def _stage(name, steps):
    return StageInfo(name, steps, 0.0, 1.0, 1.0)


@pytest.fixture
def settings(addon):
    return bpy.context.scene.trellis


def _request(settings):
    from blender_trellis.backend_settings import backend_settings

    return settings.to_request((), backend_settings())


def test_standard_is_what_a_new_scene_has(settings):
    assert [name for name, preset in PRESETS.items() if is_applied(settings, preset)] == ["standard"]


def test_a_preset_sets_what_the_backend_is_asked_for(settings):
    settings.model = "image-large"
    bpy.ops.trellis.apply_preset(preset="preview")
    request = _request(settings)
    assert request.formats == ("gaussian",) and request.finishing.texture == 0
    assert (request.sparse_structure, request.structured_latent) == (SamplingParams(steps=8),) * 2
    bpy.ops.trellis.apply_preset(preset="best")
    request = _request(settings)
    assert set(request.formats) == {"mesh", "gaussian"}
    assert (request.finishing.preset, request.finishing.texture) == ("film", 4096)
    assert (request.sparse_structure, request.structured_latent) == (SamplingParams(steps=50),) * 2
    bpy.ops.trellis.apply_preset(preset="standard")
    request = _request(settings)
    assert request.sparse_structure == request.structured_latent == NO_SAMPLING
    assert (request.finishing.preset, request.finishing.texture) == ("game", 2048)


def test_a_preview_takes_no_more_steps_than_the_model_does_by_itself(settings, monkeypatch):
    told = ModelInfo("starter", stages=(_stage("sparse_structure", 25), _stage("structured_latent", 2)))
    for known, wanted in (
        (told, (SamplingParams(steps=8), NO_SAMPLING)),
        (ModelInfo("starter"), (NO_SAMPLING, NO_SAMPLING)),  # bundled, and no backend has told of it yet
    ):
        monkeypatch.setattr(session, "model_info", lambda name, known=known: known)
        bpy.ops.trellis.apply_preset(preset="preview")
        request = _request(settings)
        assert (request.sparse_structure, request.structured_latent) == wanted
        assert is_applied(settings, PRESETS["preview"])


def test_only_one_is_pressed_and_none_once_a_number_is_changed(settings):
    for name in PRESETS:
        bpy.ops.trellis.apply_preset(preset=name)
        assert [other for other, preset in PRESETS.items() if is_applied(settings, preset)] == [name]
    settings.finish.texture = "512"
    assert not any(is_applied(settings, preset) for preset in PRESETS.values())


def test_steps_are_not_asked_of_a_model_that_does_not_heed_them(settings, monkeypatch):
    """The bundled starter predicts in one go: what is grey in the panel is not in the request either."""
    monkeypatch.setattr(
        type(settings), "why_idle", lambda self, name: "In one go." if name == "steps" else ""
    )
    bpy.ops.trellis.apply_preset(preset="best")
    settings.sparse_structure.cfg_strength = 2.0
    assert _request(settings).sparse_structure == SamplingParams(cfg_strength=2.0)
    assert _request(settings).structured_latent == NO_SAMPLING


def test_ones_own_are_files_that_can_be_applied_and_removed(settings, tmp_path, monkeypatch):
    folder = tmp_path / "presets" / "trellis"

    def user_resource(kind, *, path="", create=False):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        return str(tmp_path / path)

    monkeypatch.setattr(bpy.utils, "user_resource", user_resource)
    monkeypatch.setattr(bpy.utils, "preset_paths", lambda subdir: [str(tmp_path / "presets" / subdir)])
    settings.formats, settings.multi_image, settings.seed = {"mesh"}, "multidiffusion", 7
    settings.structured_latent.use_custom = True
    settings.structured_latent.steps = 31
    settings.finish.faces, settings.finish.material = 1234, "metal"
    assert bpy.ops.trellis.add_preset(name="My Props") == {"FINISHED"}
    (file,) = folder.iterdir()
    bpy.ops.trellis.apply_preset(preset="preview")
    settings.finish.material, settings.multi_image, settings.seed = "matte", "stochastic", 9
    bpy.ops.script.execute_preset(filepath=str(file), menu_idname="TRELLIS_PT_presets")
    assert (settings.formats, settings.multi_image, settings.seed) == ({"mesh"}, "multidiffusion", 9)
    assert settings.structured_latent.steps == 31 and settings.structured_latent.use_custom
    assert (settings.finish.faces, settings.finish.material) == (1234, "metal")
    bpy.ops.trellis.add_preset(name="My Props", remove_name=True)
    assert not Path(file).exists()


def test_every_bundled_preset_makes_an_object(settings, picture):
    for name in PRESETS:
        settings.picture = str(picture(b"ball", f"{name}.png"))
        bpy.ops.trellis.apply_preset(preset=name)
        bpy.ops.trellis.generate()
    assert session.pump_until_done(60)
    assert set(PRESETS) <= {one.name for one in bpy.data.collections}
