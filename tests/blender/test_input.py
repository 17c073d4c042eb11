"""Pictures from files, images, renders, the clipboard and drops; and the list of several."""

import stat
import sys

import bpy
import numpy as np
import pytest
from mathutils import Vector

from blender_trellis.capture import clipboard
from blender_trellis.capture.packed import packed_pixels
from blender_trellis.capture.viewport import square_round, straight
from blender_trellis.faults import Fault
from blender_trellis.jobs import session
from blender_trellis.protocol import Generate, ModelInfo
from blender_trellis.protocol.pictures import PNG
from blender_trellis.ui.input.pictures import active_picture, put_picture


@pytest.fixture
def settings(addon):
    return bpy.context.scene.trellis


@pytest.fixture
def several(settings, monkeypatch):
    """The settings, with a model that looks at several pictures."""
    told = (ModelInfo("views", ("pictures",), True, ("mesh",)), ModelInfo("one", ("pictures",)))
    monkeypatch.setattr(session.state.current(), "told", told)
    settings.model = "views"
    return settings


def _pixels_of(data: bytes, folder) -> np.ndarray:
    """A PNG's pixels (H, W, 4) uint8, the lowest row first."""
    file = folder / "read.png"
    file.write_bytes(data)
    image = bpy.data.images.load(str(file))
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return np.round(pixels * 255).astype(np.uint8).reshape(height, width, 4)


def test_pixels_become_a_packed_png_with_the_same_values(addon, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    pixels[..., 3] = np.maximum(pixels[..., 3], 1)
    image = packed_pixels("seen", pixels)
    settings = bpy.context.scene.trellis
    put_picture(settings, image)
    (picture,) = settings.read_pictures()
    assert picture.name == "seen" and picture.data.startswith(PNG)
    assert np.array_equal(_pixels_of(picture.data, tmp_path), pixels)


def test_colors_are_freed_of_the_alpha_that_weighed_them():
    weighed = np.array([[[50, 100, 0, 128], [3, 3, 3, 0], [9, 8, 7, 255]]], np.uint8)
    assert straight(weighed).tolist() == [[[100, 199, 0, 128], [0, 0, 0, 0], [9, 8, 7, 255]]]


def test_a_square_is_put_round_what_a_view_shows():
    """Pixels 10 to 29 across and 20 to 29 up of a view of 100 × 50: a square round (20, 25)."""
    alpha = np.zeros((50, 100), np.uint8)
    alpha[20:30, 10:30] = 9
    found = square_round(alpha, 1.0)
    corners = [(10, 15), (30, 35), (20, 25)]
    placed = [found @ Vector((2 * x / 100 - 1, 2 * y / 50 - 1, 0.5, 1)) for x, y in corners]
    assert np.allclose(placed, [(-1, -1, 0.5, 1), (1, 1, 0.5, 1), (0, 0, 0.5, 1)], atol=1e-6)


def test_the_last_render_has_the_colors_of_the_scenes_view(settings, tmp_path):
    """A clear film round a plane that shines with a linear 0.5, which Standard shows as sRGB 188."""
    scene = bpy.context.scene
    with pytest.raises(RuntimeError, match="Nothing has been rendered yet"):
        bpy.ops.trellis.use_render()
    bpy.ops.mesh.primitive_plane_add(size=1)
    material = bpy.data.materials.new("shine")
    material.use_nodes = True
    shine = material.node_tree.nodes.new("ShaderNodeEmission")
    shine.inputs["Color"].default_value = (0.5, 0.5, 0.5, 1)
    output = material.node_tree.nodes["Material Output"]
    material.node_tree.links.new(shine.outputs[0], output.inputs["Surface"])
    bpy.context.object.data.materials.append(material)
    bpy.ops.object.camera_add(location=(0, 0, 3))
    scene.camera = bpy.context.object
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    scene.render.resolution_x = scene.render.resolution_y = 32
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "JPEG"
    bpy.ops.render.render()
    assert bpy.ops.trellis.use_render() == {"FINISHED"}
    assert scene.render.image_settings.file_format == "JPEG"
    image = active_picture(settings).image
    assert image.packed_file and not image.filepath
    seen = _pixels_of(settings.read_pictures()[0].data, tmp_path)
    assert seen.shape == (32, 32, 4) and seen[0, 0, 3] == 0
    assert abs(seen[16, 16].astype(int) - [188, 188, 188, 255]).max() <= 1


def test_tiles_and_packed_files_of_other_kinds_are_taken_as_they_are_shown(settings, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 4), np.uint8)
    pixels[..., 3] = 255
    made = packed_pixels("made", pixels)
    for name, form in (("tile.1001.png", "PNG"), ("tile.1002.png", "PNG"), ("packed.tga", "TARGA")):
        made.filepath_raw, made.file_format = str(tmp_path / name), form
        made.save()
    tiled = bpy.data.images.load(str(tmp_path / "tile.<UDIM>.png"))
    tiled.source = "TILED"
    packed = bpy.data.images.load(str(tmp_path / "packed.tga"))
    packed.pack()
    for image in (tiled, packed):
        put_picture(settings, image)
        picture = settings.read_pictures()[-1]
        assert np.array_equal(_pixels_of(picture.data, tmp_path), pixels), image.name


def test_a_viewport_is_asked_for_where_there_is_none(settings):
    with pytest.raises(RuntimeError, match="There is no 3D view"):
        bpy.ops.trellis.use_viewport()


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        '"{}"\n',
        "file://{}",
        "file://localhost{}",
        "{}\n/another.png",
        "x-special/nautilus-clipboard\ncopy\nfile://{}\n",
    ],
)
def test_a_clipboard_may_name_a_file(addon, picture, form):
    file = picture(b"ball", "red chair.png")
    named = str(file) if "file:" not in form else str(file).replace(" ", "%20")
    assert clipboard.named_file(form.format(named)) == file


@pytest.mark.parametrize(
    "text",
    ["", "a chair", "/nowhere/chair.png", "chair.png", "x" * 9000 + ".png", "\0.png", "file://[chair.png"],
)
def test_other_words_on_a_clipboard_name_none(text):
    assert clipboard.named_file(text) is None


def test_a_clipboards_pixels_come_by_a_program_where_blender_cannot(settings, tmp_path, monkeypatch):
    blue = bpy.data.images.new("blue", 3, 2)
    blue.filepath_raw, blue.file_format = str(tmp_path / "blue.png"), "PNG"
    blue.save()
    program = tmp_path / "wl-paste"
    program.write_text(
        f'#!{sys.executable}\nimport sys\nsys.stdout.buffer.write(open("{tmp_path}/blue.png","rb").read())'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bpy.ops.trellis.paste_picture() == {"FINISHED"}
    image = active_picture(settings).image
    assert image.name == "Clipboard" and tuple(image.size) == (3, 2) and image.packed_file
    program.write_text("#!/bin/sh\necho no picture")
    with pytest.raises(Fault, match="The clipboard holds no picture"):
        clipboard.from_clipboard(bpy.context)
    program.unlink()
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(Fault, match="install xclip"):
        clipboard.from_clipboard(bpy.context)


def test_an_image_of_the_file_is_used_as_it_is_painted(settings, tmp_path):
    image = bpy.data.images.new("painted", 2, 2)
    image.pixels[:] = [1, 0, 0, 1] * 4
    assert bpy.ops.trellis.use_image(image="painted") == {"FINISHED"}
    assert (_pixels_of(settings.read_pictures()[0].data, tmp_path) == [255, 0, 0, 255]).all()
    bpy.data.images.remove(image)
    assert settings.missing() == "Choose a picture"
    with pytest.raises(RuntimeError, match='no image "painted"'):
        bpy.ops.trellis.use_image(image="painted")


def test_chosen_files_take_the_place_of_the_picture_or_join_it(settings, picture):
    folder = str(picture(b"ball", "a.png").parent)
    bpy.ops.trellis.open_pictures(directory=folder, files=[{"name": "a.png"}])
    bpy.ops.trellis.open_pictures(directory=folder, files=[{"name": "b.png"}, {"name": "c.png"}])
    assert [one.label for one in settings.pictures] == ["b.png", "c.png"]
    bpy.ops.trellis.open_pictures(directory=folder, files=[{"name": "d.png"}], add=True)
    assert [one.label for one in settings.pictures] == ["b.png", "c.png", "d.png"]
    assert settings.active_picture == 2


def test_the_list_is_reordered_and_shortened(settings):
    for name in "abc":
        put_picture(settings, f"/{name}.png", add=True)
    labels = lambda: [one.label[0] for one in settings.pictures]  # noqa: E731
    bpy.ops.trellis.move_picture(by=-1)
    assert labels() == ["a", "c", "b"] and settings.active_picture == 1
    bpy.ops.trellis.move_picture(by=9)
    assert labels() == ["a", "b", "c"] and settings.active_picture == 2
    bpy.ops.trellis.remove_picture()
    assert labels() == ["a", "b"] and active_picture(settings).label == "b.png"
    bpy.ops.trellis.remove_picture()
    bpy.ops.trellis.remove_picture()
    assert not settings.pictures and active_picture(settings) is None
    assert not bpy.ops.trellis.remove_picture.poll()


def test_several_pictures_go_to_the_backend_in_their_order(several, picture):
    for name in ("front.png", "back.png"):
        put_picture(several, picture(name.encode(), name), add=True)
    several.multi_image = "multidiffusion"
    request = several.to_request(several.read_pictures(), _backend())
    assert request.picture_names == ("front.png", "back.png") and request.multi_image == "multidiffusion"
    assert [bytes(one.data) for one in request.pictures] == [PNG + b"front.png", PNG + b"back.png"]
    several.model = "one"
    assert [one.name for one in several.read_pictures()] == ["front.png"]
    assert not bpy.ops.trellis.add_picture.poll()


def _backend():
    from blender_trellis.backend_settings import backend_settings

    return backend_settings()


def test_dropped_pictures_become_the_list(several, picture):
    put_picture(several, "/former.png")
    folder = str(picture(b"ball", "a.png").parent)
    dropped = [{"name": "a.png"}, {"name": "notes.txt"}, {"name": "b.JPG"}]
    assert bpy.ops.trellis.drop_pictures(directory=folder, files=dropped) == {"FINISHED"}
    assert [one.label for one in several.pictures] == ["a.png", "b.JPG"] and several.active_picture == 0
    with pytest.raises(RuntimeError, match="None of these files is a picture"):
        bpy.ops.trellis.drop_pictures(directory=folder, files=[{"name": "notes.txt"}])


def test_a_dropped_file_that_is_no_picture_is_taken_and_makes_nothing(settings, tmp_path):
    (tmp_path / "page.png").write_bytes(b"<html>")
    dropped = [{"name": "page.png"}]
    assert bpy.ops.trellis.drop_and_generate(directory=str(tmp_path), files=dropped) == {"FINISHED"}
    assert [one.label for one in settings.pictures] == ["page.png"] and not session.listed_jobs()


def test_a_dropped_picture_becomes_an_object(settings, picture):
    file = picture(b"ball", "apple.png")
    bpy.ops.trellis.drop_and_generate(directory=str(file.parent), files=[{"name": file.name}])
    assert session.pump_until_done(60)
    assert "apple" in bpy.data.collections


def test_a_picture_that_is_dropped_on_a_model_for_words_starts_nothing(settings, picture, monkeypatch):
    told = (ModelInfo("words", ("text",)), ModelInfo("one", ("pictures",)))
    monkeypatch.setattr(session.state.current(), "told", told)
    settings.model, settings.prompt = "words", "a red car"
    file = picture(name="chair.png")
    assert bpy.ops.trellis.generate.poll()
    bpy.ops.trellis.drop_and_generate(directory=str(file.parent), files=[{"name": file.name}])
    assert not session.listed_jobs() and not session.status().job
    settings.model = "one"  # which takes the picture that was dropped
    assert active_picture(settings).label == "chair.png"


def test_drops_are_handled_in_3d_views_alone(addon):
    from blender_trellis.ui.input import drop

    handlers = (drop.TRELLIS_FH_generate, drop.TRELLIS_FH_picture)
    for handler in handlers:
        assert handler.is_registered
        assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"} <= set(
            handler.bl_file_extensions.split(";")
        )

    class Area:
        type = "VIEW_3D"

    class Context:
        area = Area

    assert all(handler.poll_drop(Context) for handler in handlers)
    Area.type = "IMAGE_EDITOR"
    assert not any(handler.poll_drop(Context) for handler in handlers)


def test_the_default_request_says_nothing_of_several_pictures(settings, picture):
    settings.picture = str(picture())
    assert settings.to_request(settings.read_pictures(), _backend()).multi_image == Generate("").multi_image
