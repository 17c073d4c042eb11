"""What the panels draw, told by a layout that writes down what is put on it."""

from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest

from blender_trellis.extension_paths import user_folder
from blender_trellis.install.backend_install import environment_folder
from blender_trellis.install.health import lock_of
from blender_trellis.install.python_environment import hash_of, interpreter, write_mark
from blender_trellis.jobs import session
from blender_trellis.jobs.cut_out import Asked
from blender_trellis.jobs.kept import known_models
from blender_trellis.ui import panels, queue_panel, widgets
from blender_trellis.ui.finish import panel as finish_panel
from blender_trellis.ui.input import panel as input_panel
from blender_trellis.ui.input.pictures import put_picture
from blender_trellis.ui.install import panel as install_panel
from blender_trellis.ui.region import panel as region_panel
from blender_trellis.ui.vary import panel as vary_panel
from blender_trellis.ui.vary import request

ROOT = Path(__file__).resolve().parents[2]


class Layout:
    """As much of UILayout as the panels use; rows and columns share the list of what was drawn."""

    def __init__(self, above=None):
        self.drawn = above.drawn if above else []
        self.active = above.active if above else True
        self.enabled = above.enabled if above else True

    def row(self, **_):
        return Layout(self)

    column = box = row

    def prop(self, owner, name, **_):
        self.drawn.append((name, self.active and self.enabled))

    def prop_enum(self, owner, name, value, **_):
        self.drawn.append((value, self.active and self.enabled))

    def operator(self, name, **_):
        self.drawn.append((name, self.active and self.enabled))
        return SimpleNamespace()

    def template_list(self, kind, *_, **__):
        self.drawn.append((kind, True))

    def icon(self, image):
        return 1

    def operator_menu_enum(self, name, *_, **__):
        self.drawn.append((name, True))

    def template_ID(self, owner, name, **_):
        self.drawn.append((name, True))

    def label(self, text="", **_):
        self.drawn.append((text, self.active))

    def menu(self, name, text="", **_):
        self.drawn.append((text, self.active))

    def template_icon(self, icon_value, **_):
        self.drawn.append(("icon", icon_value > 0))

    def template_ID_preview(self, owner, name, **_):
        self.drawn.append((name, True))


def _drawn(draw, *arguments):
    layout = Layout()
    draw(layout, *arguments)
    return layout.drawn


@pytest.fixture
def told(addon, picture):
    """The settings, once the fake backend has told of its model."""
    bpy.context.scene.trellis.picture = str(picture())
    bpy.ops.trellis.generate()
    assert session.pump_until_done(60)
    return bpy.context.scene.trellis


def test_a_setting_without_effect_is_grey_with_its_reason(told):
    drawn = _drawn(panels._draw_seed, told, 80)
    assert ("seed", False) in drawn and ("use_random_seed", False) in drawn
    assert ("Another seed changes next to nothing.", False) in drawn
    told.model = "another"
    assert ("seed", True) in _drawn(panels._draw_seed, told, 80)


def test_what_the_model_does_not_take_is_grey(told):
    """The starter takes pictures, another model nobody knows, the starter for text a sentence."""
    drawn = _drawn(input_panel.draw_input, told, 80)
    assert ("prompt", False) in drawn and ("path", True) in drawn and ("trellis.use_render", True) in drawn
    told.model = "another"
    drawn = _drawn(input_panel.draw_input, told, 80)
    assert ("prompt", True) in drawn and ("path", True) in drawn
    session.state.current().runner.hello = None
    session.state.current().told = known_models.BUNDLED
    told.model = "starter-text"
    drawn = _drawn(input_panel.draw_input, told, 80)
    assert drawn == [("prompt", True), ("This model takes no pictures", True)]


def test_what_the_model_takes_stands_above_what_it_does_not_take(told):
    """The starter takes pictures alone; with a model that takes both the sentence goes first."""
    names = [name for name, _ in _drawn(input_panel.draw_input, told, 80)]
    assert names.index("prompt") > names.index("trellis.open_pictures") and names[-1] == "prompt"
    told.model = "another"
    assert _drawn(input_panel.draw_input, told, 80)[0] == ("prompt", True)


def test_the_queue_shows_what_is_still_to_be_done_first(addon):
    """Those in the order in which they will be made; below them what has ended, the latest on top."""
    states = ("finished", "failed", "finished", "running", "queued", "queued")
    names = ("one", "two", "three", "four", "five", "six")
    jobs = tuple(session.Listed(name, name, state, "why") for name, state in zip(names, states, strict=True))
    drawn = [name for name, _ in _drawn(queue_panel.draw_jobs, jobs, 80)]
    assert [name for name in drawn if name in names] == ["four", "five", "six", "three", "two", "one"]
    assert drawn.index("two") < drawn.index("why") < drawn.index("one") and drawn[-1] == "trellis.forget_job"
    assert drawn.count("trellis.move_job") == 4 and drawn.count("trellis.cancel") == 3


def test_several_pictures_are_a_list_that_is_grey_where_one_is_used(told):
    put_picture(told, "/back.png", add=True)
    drawn = _drawn(input_panel.draw_list, told)
    assert ("TRELLIS_UL_pictures", True) in drawn and ("multi_image", False) in drawn
    assert ("Only the first is used by this model", False) in drawn
    told.model = "another"
    drawn = _drawn(input_panel.draw_list, told)
    assert ("multi_image", True) in drawn and len(drawn) == 5


def test_a_stage_is_grey_until_it_has_settings_of_its_own(told):
    stage = told.structured_latent
    drawn = _drawn(panels._draw_stage, told, stage, 80)
    assert ("steps", False) in drawn and ("cfg_strength", False) in drawn
    stage.use_custom = True
    assert _drawn(panels._draw_stage, told, stage, 80) == [("steps", True), ("cfg_strength", True)]
    stage.use_custom, told.model = False, "another"
    assert _drawn(panels._draw_stage, told, stage, 80) == [("As the model recommends", True)]


def test_variants_show_what_the_model_heeds_and_why_a_button_is_grey(told):
    """The starter takes pictures and does nothing with seeds; an asset is active, then a mesh."""
    settings = told.vary
    chosen = request.selected(bpy.context)
    info = session.model_info("starter")
    drawn = _drawn(vary_panel.draw_guide, settings, chosen, info)
    assert drawn == [("OWN", True), ("PICTURE", True), ("SENTENCE", False)]
    drawn = _drawn(vary_panel.draw_numbers, settings, info, 80)
    assert {("own_strength", False), ("count", False), ("seed", False)} <= set(drawn)
    assert ("Another seed changes next to nothing.", False) in drawn
    drawn = _drawn(vary_panel.draw_numbers, settings, None, 80)
    assert {("own_strength", True), ("count", True)} <= set(drawn)
    drawn = _drawn(vary_panel.draw_buttons, bpy.context, chosen, 200)
    assert drawn[0] == ("trellis.vary", True) and "give another picture" in drawn[1][0]
    for item in bpy.context.selected_objects:
        item.select_set(False)
    bpy.ops.mesh.primitive_cube_add()
    settings.guide, settings.image = "PICTURE", bpy.data.images.new("red", 4, 4)
    chosen = request.selected(bpy.context)
    names = [name for name, _ in _drawn(vary_panel.draw_buttons, bpy.context, chosen, 200)]
    assert names == ["trellis.vary", "trellis.retexture", "trellis.make_editable"]
    assert _drawn(vary_panel.draw_guide, settings, chosen, info)[0] == ("OWN", False)


def test_a_strength_that_nobody_has_set_is_the_models_and_shows_no_number(addon):
    """What is drawn is what is sent, before and after the switch beside it is on."""
    region, vary = bpy.context.scene.trellis.region, bpy.context.scene.trellis.vary
    for settings, draw, sent in (
        (region, region_panel.draw_sampling, lambda: region.choices(None).strength),
        (vary, vary_panel.draw_numbers, lambda: vary.to_strength(None)),
    ):
        drawn = _drawn(draw, settings, None, 80)
        assert ("As the Model Says", True) in drawn and ("strength", True) not in drawn and sent() is None
        settings.own_strength = True
        drawn = _drawn(draw, settings, None, 80)
        assert ("strength", True) in drawn and ("As the Model Says", True) not in drawn
        assert sent() == settings.strength > 0
        settings.own_strength = False
    region.start = "asset"
    assert ("0.5", True) in _drawn(region_panel.draw_sampling, region, None, 80)
    assert region.choices(None).strength == 0.5


def test_steps_of_finishing_without_effect_are_grey(addon):
    """Only a raw mesh is closed by a switch of its own, and only the others heed the other steps."""
    settings = bpy.context.scene.trellis.finish
    shown = SimpleNamespace(layout=Layout(), _draw_report=lambda context: None)
    for preset, is_raw in (("raw", True), ("game", False)):
        settings.preset, shown.layout = preset, Layout()
        finish_panel.TRELLIS_PT_finish.draw(shown, bpy.context)
        drawn = set(shown.layout.drawn)
        assert {("watertight", is_raw), ("crumbs", not is_raw), ("own_faces", not is_raw)} <= drawn


def test_packages_of_an_earlier_version_are_told_with_the_button_that_mends_them(addon, monkeypatch):
    monkeypatch.delenv("TRELLIS_PYTHON")
    monkeypatch.setattr(session.backend, "extension_root", lambda: ROOT)
    monkeypatch.setattr(session, "backend_health", lambda: None)  # which is found out beside the drawing
    python = interpreter(environment_folder(user_folder(create=True)))
    python.parent.mkdir(parents=True)
    python.touch()
    said = ("The extension was updated", "Looking at the backend")
    for locks, sentence in (("of an earlier version", said[0]), (hash_of((lock_of(ROOT, "cpu"),)), said[1])):
        write_mark(python.parent.parent, {"accelerator": "cpu", "locks": locks})
        session.backend_python(fresh=True)
        assert session.needs_repair() == (sentence == said[0])
        drawn = _drawn(install_panel.draw_install, 200)
        assert [text for text, _ in drawn if text.startswith(said)][0].startswith(sentence)
        assert ("trellis.install_backend", True) in drawn
        # Without online access the button is grey, and the way to it stands above.
        assert (("screen.userpref_show", True) in drawn) == (sentence == said[0])


def test_the_cut_out_stands_beside_the_picture_and_its_fault_below(told):
    told.shows_cut_out = True
    assert session.pump_until_done(60)
    beside, below = Layout(), Layout()
    input_panel.draw_cut_out(beside, below, session.cut_out(), 80)
    assert [name for name, _ in beside.drawn] == ["icon"] and not below.drawn
    asked = Asked("", "", fault="The picture is empty.", ended=True)
    beside, below = Layout(), Layout()
    input_panel.draw_cut_out(beside, below, asked, 80)
    assert below.drawn == [("The picture is empty.", True)] and not beside.drawn


@pytest.mark.parametrize(
    ("owner", "name", "words"),
    [("trellis", "height", "As Made"), ("trellis.finish", "faces", "As the Mesh Says")],
)
def test_a_number_that_nobody_has_set_says_what_holds_without_it(addon, owner, name, words):
    settings, layout = bpy.context.scene.path_resolve(owner), Layout()
    widgets.draw_own(layout, settings, name, name, words)
    assert layout.drawn == [(f"own_{name}", True), (words, True)] and getattr(settings, name) == 0
    setattr(settings, f"own_{name}", True)
    layout = Layout()
    widgets.draw_own(layout, settings, name, name, words)
    assert layout.drawn == [(f"own_{name}", True), (name, True)] and getattr(settings, name) > 0
    setattr(settings, f"own_{name}", False)
    assert getattr(settings, name) == 0
