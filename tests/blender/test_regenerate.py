"""An object alone is enough to make the same again; edits and variants find their way into the scene."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from test_latents import _latents

from blender_trellis.jobs import session
from blender_trellis.jobs.placement import Placement
from blender_trellis.protocol import Array, Edit, Encode, Generate, SamplingParams, Vary
from blender_trellis.scene import window
from blender_trellis.scene.find_asset import asset_id, asset_matrix, part, vertex_keys
from blender_trellis.scene.latents import read_latents, read_pictures
from blender_trellis.ui.asset_operators import request_of
from tests.waiting import PATIENCE, wait_until

DTYPES = {"f4": np.float32, "i4": np.int32, "u1": np.uint8}
FILE = b"\x89PNG\r\n\x1a\n" + b"ball"  # as the fixture writes it
MATRIX = (2.0, 0, 0, 5, 0, 2.0, 0, 6, 0, 0, 2.0, 7, 0, 0, 0, 1)


def _arrays(**named: np.ndarray) -> dict[str, Array]:
    kinds = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    return {name: Array(kinds[held.dtype], held.shape, held.tobytes()) for name, held in named.items()}


def _generated(picture, data: bytes = b"ball") -> bpy.types.Collection:
    settings = bpy.context.scene.trellis
    settings.picture = str(picture(data))
    settings.finish.preset, settings.finish.texture = "raw", "0"
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE)
    return bpy.data.collections["crate"]


def _edit_of(collection: bpy.types.Collection, **changes) -> Edit:
    latents = read_latents(collection)
    guide = np.frombuffer(b"guide", np.uint8)
    request = {
        "arrays": _arrays(**latents.arrays, picture_0=guide),
        "picture_names": ("guide.png",),
        "resolution": latents.resolution,
        "structure_resolution": latents.structure_resolution,
        "model_hash": latents.model_hash,
        "boxes": (tuple(np.eye(4).ravel().tolist()),),
    }
    return Edit(job="", **(request | changes))


def _submit(request, placement: Placement) -> None:
    session.submit(request, placement)
    assert session.pump_until_done(PATIENCE)


def test_all_that_was_asked_is_asked_again(addon, picture):
    settings = bpy.context.scene.trellis
    settings.seed, settings.structured_latent.use_custom, settings.structured_latent.steps = 77, True, 5
    collection = _generated(picture)
    again = request_of(collection)
    assert isinstance(again, Generate) and (again.seed, again.structured_latent.steps) == (77, 5)
    assert [bytes(one.data) for one in again.pictures] == [FILE] and again.picture_names == ("crate.png",)
    assert json.loads(collection["trellis_picture_hashes"]) == [hashlib.sha256(FILE).hexdigest()]


def test_an_object_alone_makes_the_same_again(addon, picture, tmp_path):
    _generated(picture)
    path = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.append(filepath=f"{path}/Object/crate", directory=f"{path}/Object/", filename="crate")
    first = bpy.data.objects["crate"]
    bpy.context.view_layer.objects.active = first
    assert bpy.ops.trellis.regenerate_this() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE)
    (collection,) = [one for one in bpy.data.collections if "trellis_asset" in one]
    second = part(collection, "mesh")
    assert second != first and _places(second) == _places(first)
    for name in ("trellis_parameters", "trellis_seed", "trellis_picture_hashes", "trellis_history"):
        assert second[name] == first[name]


def test_what_is_made_again_stands_and_is_marked_as_the_panel_says(addon, picture):
    collection = _generated(picture)
    bpy.context.view_layer.objects.active = part(collection, "mesh")
    settings = bpy.context.scene.trellis
    settings.own_height, settings.height, settings.on_ground = True, 3.0, True
    settings.marks.marks_results, settings.marks.author = True, "Ada"
    bpy.context.scene.cursor.location = (0.0, 40.0, 5.0)
    assert bpy.ops.trellis.regenerate_this() == {"FINISHED"}
    assert session.pump_until_done(PATIENCE) and not session.status().fault
    bpy.context.view_layer.update()
    again = bpy.data.collections["crate.001"]
    corners = np.array(
        [part(again, "mesh").matrix_world @ one.co for one in part(again, "mesh").data.vertices]
    )
    np.testing.assert_allclose((corners[:, 2].min(), corners[:, 2].max()), (0.0, 3.0), atol=1e-4)
    assert corners[:, 1].mean() == pytest.approx(40.0, abs=0.1)
    assert again.asset_data.author == "Ada" and collection.asset_data is None


def test_a_result_goes_into_a_window_that_shows_the_scene_it_was_asked_for_in(addon, picture, monkeypatch):
    other = bpy.data.scenes.new("other")
    first, second = SimpleNamespace(scene=bpy.context.scene), SimpleNamespace(scene=other)
    bpy.context.scene.trellis.picture = str(picture())
    bpy.ops.trellis.generate()
    (placement,) = session.state.current().placements.values()
    assert session.pump_until_done(PATIENCE)
    assert placement.scene == first.scene.session_uid
    for used in (None, first, second):
        manager = SimpleNamespace(windows=[first, second])
        context = SimpleNamespace(window=used, window_manager=manager)
        monkeypatch.setattr(window, "bpy", SimpleNamespace(context=context))
        assert window._window(placement.scene) == first
        assert window._window(other.session_uid) == second
        assert window._window() == (used or first)  # of no scene, or of one that no window shows


def _places(item: bpy.types.Object) -> list[tuple[float, ...]]:
    return [tuple(vertex.co) for vertex in item.data.vertices]


def test_the_button_is_grey_for_what_was_not_generated(addon, picture):
    bpy.ops.mesh.primitive_cube_add()
    assert not bpy.ops.trellis.regenerate_this.poll()


def test_pictures_that_are_not_kept_are_a_sentence(addon, picture, monkeypatch):
    from blender_trellis.backend_settings import BackendSettings

    monkeypatch.setattr(session.results, "backend_settings", lambda: BackendSettings(keeps_pictures=False))
    collection = _generated(picture)
    assert not read_pictures(collection) and not bpy.data.images
    with pytest.raises(RuntimeError, match="are not kept with it"):
        bpy.ops.trellis.regenerate_this()


def test_an_edit_changes_its_asset_and_can_be_made_again(addon, picture):
    collection = _generated(picture)
    root = part(collection, "root")
    root.location = (4, 5, 6)
    mesh = part(collection, "mesh")
    below = [vertex.index for vertex in mesh.data.vertices if vertex.co.z < -0.1]
    for index in below:
        mesh.data.vertices[index].co.x += 1
    edit = _edit_of(collection, seed=9, structured_latent=SamplingParams(steps=3))
    _submit(edit, Placement("crate", edits=asset_id(collection)))
    assert not session.status().fault and len(bpy.context.scene.collection.children) == 1
    assert part(collection, "mesh") == mesh and tuple(root.location) == (4, 5, 6)
    moved = [vertex for vertex in mesh.data.vertices if vertex.co.z < -0.1]
    assert len(moved) == len(below) and all(vertex.co.x > 0.5 for vertex in moved)
    assert max(vertex.co.x for vertex in mesh.data.vertices if vertex.co.z > 0) < 0.5
    first, second = json.loads(collection["trellis_history"])
    assert (first["mode"], first["regions"]) == ("generate", {"boxes": [], "meshes": 0})
    assert (second["mode"], second["seed"]) == ("replace", 9)
    assert second["regions"] == {"boxes": [list(edit.boxes[0])], "meshes": 0}
    assert second["picture_hashes"] == [hashlib.sha256(b"guide").hexdigest()]
    assert second["settings"]["structured_latent"]["steps"] == 3
    again = request_of(collection)
    assert isinstance(again, Edit) and again.boxes == edit.boxes and again.seed == 9
    assert again.arrays.keys() == edit.arrays.keys()
    for name, array in edit.arrays.items():
        assert bytes(again.arrays[name].data) == bytes(array.data)
    assert read_pictures(collection) == (("crate.png", FILE),)
    bpy.context.view_layer.objects.active = mesh
    bpy.ops.trellis.regenerate_this()
    assert session.pump_until_done(PATIENCE)
    twin = bpy.data.collections["crate.001"]
    assert twin["trellis_history"] == collection["trellis_history"]


def test_an_edit_that_is_made_again_reads_the_texture_of_what_it_kept(addon, picture):
    settings = bpy.context.scene.trellis
    settings.picture = str(picture(b"ball"))
    settings.finish.preset, settings.finish.texture = "game", "512"
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE)
    collection = bpy.data.collections["crate"]
    edit = _edit_of(collection, finishing=settings.finish.to_finishing())
    _submit(edit, Placement("crate", edits=asset_id(collection)))
    assert not session.status().fault
    again = request_of(collection).arrays
    shape = again["finished_texture"].shape
    assert shape == (512, 512, 3)
    pixels = np.frombuffer(bytes(again["finished_texture"].data), np.uint8).reshape(shape)
    assert np.abs(pixels.astype(int) - (200, 40, 90)).max() <= 1  # as the backend sent it
    assert again["finished_faces"].shape[0] == len(part(collection, "finished").data.polygons)


def test_the_result_of_an_edit_whose_asset_is_gone_is_not_lost(addon, picture):
    collection = _generated(picture)
    edit, name = _edit_of(collection), asset_id(collection)
    bpy.data.collections.remove(collection)
    _submit(edit, Placement("crate", edits=name))
    assert "added beside" in session.status().fault
    assert part(bpy.data.collections["crate"], "mesh") is not None


def test_an_edit_of_what_has_changed_meanwhile_is_added_beside(addon, picture):
    from blender_trellis.scene.latents import store_latents

    collection = _generated(picture)
    edit, name = _edit_of(collection), asset_id(collection)
    before = _places(part(collection, "mesh"))
    store_latents(collection, _latents(seed=5))
    _submit(edit, Placement("crate", edits=name))
    assert "added beside" in session.status().fault
    assert _places(part(collection, "mesh")) == before and "crate.001" in bpy.data.collections


def test_an_edit_waits_until_edit_mode_is_left(addon, picture):
    collection = _generated(picture)
    bpy.context.view_layer.objects.active = part(collection, "mesh")
    bpy.ops.object.mode_set(mode="EDIT")
    session.submit(_edit_of(collection), Placement("crate", edits=asset_id(collection)))
    wait_until(lambda: "leave Edit" in session.status().waiting, meanwhile=session.timer.tick)
    session.state.current().note_fault("of another job", ("its log",))
    session.state.current().remedy = "free_parts"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert session.pump_until_done(PATIENCE) and not session.status().waiting
    assert (session.status().fault, session.status().log) == ("of another job", ("its log",))
    assert session.remedy() == "free_parts"
    assert len(json.loads(collection["trellis_history"])) == 2


def test_an_edit_that_the_asset_cannot_take_is_added_beside(addon, picture, monkeypatch):
    from blender_trellis.scene import replace

    def broken(*_):
        raise ZeroDivisionError("a bug")

    collection = _generated(picture)
    monkeypatch.setattr(replace, "splice_steps", broken)
    before = _places(part(collection, "mesh"))
    _submit(_edit_of(collection), Placement("crate", edits=asset_id(collection)))
    assert "a bug" in session.status().fault and "added beside" in session.status().fault
    assert _places(part(collection, "mesh")) == before and "crate.001" in bpy.data.collections


@pytest.mark.parametrize("kind", [Vary, Encode])
def test_a_variant_goes_where_it_is_told(addon, picture, kind):
    collection = _generated(picture)
    arrays = _edit_of(collection).arrays
    history = collection["trellis_history"] if kind is Vary else ""
    del arrays["picture_0"]
    _submit(kind(job="", arrays=arrays), Placement("other", matrix=MATRIX, history=history))
    other = bpy.data.collections["other"]
    bpy.context.view_layer.update()
    np.testing.assert_allclose(np.array(asset_matrix(other)).ravel(), MATRIX, atol=1e-5)
    modes = [step["mode"] for step in json.loads(other["trellis_history"])]
    assert modes == (["generate", "vary"] if kind is Vary else ["encode"])


REAL = Path(__file__).parents[2] / ".venv" / "bin" / "python"


@pytest.fixture
def real_addon(monkeypatch, tmp_path):
    """The add-on with the real backend and the bundled model."""
    import blender_trellis

    monkeypatch.setenv("TRELLIS_PYTHON", str(REAL))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    blender_trellis.register()
    yield blender_trellis
    blender_trellis.unregister()


def _values(collection: bpy.types.Collection, kind: str) -> dict[str, np.ndarray]:
    """Every number of vertices and faces."""
    mesh = part(collection, kind).data
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    found = {"corners": corners, "keys": vertex_keys(mesh)}
    for name, item, width in (("position", "vector", 3), ("Color", "color", 4), ("opacity", "value", 1)):
        if name in mesh.attributes:
            found[name] = np.empty(width * len(mesh.vertices), np.float32)
            mesh.attributes[name].data.foreach_get(item, found[name])
    return found


@pytest.mark.skipif(not REAL.exists(), reason="the backend's environment is not set up")
def test_the_real_backend_makes_the_same_again_and_edits_it(real_addon):
    bpy.context.scene.trellis.picture = str(REAL.parents[2] / "docs" / "pictures" / "chair.png")
    bpy.ops.trellis.generate()
    assert session.pump_until_done(PATIENCE), "the first"
    collection = bpy.data.collections["chair"]
    bpy.context.view_layer.objects.active = part(collection, "gaussian")
    bpy.ops.trellis.regenerate_this()
    assert session.pump_until_done(PATIENCE), "the second"
    again = bpy.data.collections["chair.001"]
    nodes = part(again, "finished").active_material.node_tree.nodes
    shader = next(one for one in nodes if one.type == "BSDF_PRINCIPLED")
    assert (shader.inputs["Roughness"].default_value, shader.inputs["Metallic"].default_value) == (1.0, 0.0)
    latents = read_latents(collection)
    for name, values in latents.arrays.items():
        np.testing.assert_array_equal(read_latents(again).arrays[name], values)
    for kind in ("mesh", "gaussian"):
        first, second = _values(collection, kind), _values(again, kind)
        assert first.keys() == second.keys()
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name])
    _remove_the_right_half_of_a_sculpted_one(collection)


def _remove_the_right_half_of_a_sculpted_one(collection: bpy.types.Collection) -> None:
    mesh = part(collection, "mesh").data
    before = dict(zip(vertex_keys(mesh).tolist(), np.array([v.co for v in mesh.vertices]), strict=True))
    sculpted = {key: place + (0, 0.3, 0) for key, place in before.items() if place[0] < -0.2}
    for key, vertex in zip(vertex_keys(mesh).tolist(), mesh.vertices, strict=True):
        if key in sculpted:
            vertex.co = sculpted[key]
    right = (0.25, 0, 0, 0.25, 0, 0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 1.0)  # x from 0 to 0.5
    _submit(
        _edit_of(collection, mode="remove", boxes=(right,)), Placement("chair", edits=asset_id(collection))
    )
    assert not session.status().fault
    mesh = part(collection, "mesh").data
    after = dict(zip(vertex_keys(mesh).tolist(), np.array([v.co for v in mesh.vertices]), strict=True))
    assert max(place[0] for place in after.values()) < 0.15 and len(after) < 0.8 * len(before)
    for key, place in sculpted.items():
        np.testing.assert_array_equal(after[key], place.astype(np.float32))
    untouched = [key for key, place in before.items() if -0.2 <= place[0] < -0.1]
    assert len(untouched) > 1000
    for key in untouched:
        np.testing.assert_array_equal(after[key], before[key])
