"""Stored shapes answer as the mesh does; a folder is prepared once, whatever is broken in it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from training_recipe import tiny_recipe
from training_shapes import cube, save, sphere

from backend.errors import UserError
from backend.geometry.mesh_files import read_catalogue
from backend.geometry.scene import make_scene, occupancy
from backend.geometry.stored_shape import measure_shape, read_shape, write_shape
from backend.geometry.views import training_view
from backend.lifting.mesh_features import voxel_features
from backend.lifting.surface import COARSE_CELLS
from backend.training.dataset import FINE_CELLS
from backend.training.starter.prepare import prepare
from backend.training.starter.surface_sample import fine_field

RESOLUTION = 16


@pytest.mark.parametrize("mirror", [False, True])
def test_a_stored_shape_answers_as_the_mesh_does(mirror, tmp_path):
    view = replace(training_view("ball", np.random.default_rng(1)), mirror=False)
    seen = make_scene("ball", sphere(rings=6), view)
    cells = {n * RESOLUTION: n + 0.5 for n in (COARSE_CELLS, FINE_CELLS)}
    with (tmp_path / "ball.npz").open("wb") as file:
        write_shape(file, measure_shape(view, seen.vertices, seen.faces, RESOLUTION, cells))
    with (tmp_path / "ball.npz").open("rb") as file:
        shape = read_shape(file)
    scene = make_scene("ball", sphere(rings=6), replace(view, mirror=mirror))
    stored = replace(scene, stored=shape)
    occupied = occupancy(scene, RESOLUTION)
    assert np.array_equal(occupancy(stored, RESOLUTION), occupied)
    coords = np.argwhere(occupied).astype(np.int32)
    features = voxel_features(stored, coords, RESOLUTION)
    assert np.allclose(features, voxel_features(scene, coords, RESOLUTION), atol=1e-6)
    some = coords[: len(coords) // 2]
    (field, _), (again, _) = fine_field(scene, some, RESOLUTION), fine_field(stored, some, RESOLUTION)
    assert np.allclose(field.distance, again.distance, atol=1e-5)
    assert np.array_equal(field.face >= 0, again.face >= 0)


def test_a_folder_is_prepared_once_without_what_is_broken(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    save(cube(), tmp_path / "data" / "cube.npz")
    save(sphere(rings=6), tmp_path / "data" / "ball.npz")
    (tmp_path / "data" / "broken.glb").write_bytes(b"glTF, but not for long")
    entries, recipe = read_catalogue(tmp_path / "data"), tiny_recipe(views=2)
    out = tmp_path / "prepared"
    assert prepare(recipe, entries, out, 2, until=0.0, stop=0.0) is None  # a piece that ended at once
    source = prepare(recipe, entries, out, 2, until=math.inf)
    assert [entry.name for entry in source.entries] == ["ball.npz", "cube.npz"]
    assert "broken.glb" in caplog.text
    made = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    assert len(made) == 4
    again = prepare(recipe, entries, out, 2, until=math.inf)
    assert made == {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    first, second = source.scene(5, surface=True)[0], again.scene(5, surface=True)[0]
    assert first.stored is not None and first.name == second.name
    assert np.array_equal(first.vertices, second.vertices)
    assert source.scene(5)[0].stored is None


def test_nothing_but_broken_meshes_is_an_error(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="None of the 1 meshes"):
        prepare(tiny_recipe(), read_catalogue(tmp_path), tmp_path / "prepared", 1, until=0.0)
