"""Nothing of the test objects, nor a re-export of them, is in what the starter was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_lists import read_list, same_shapes
from training_shapes import cube, save, sphere

pytest.importorskip("numba")

from backend.checkpoints.find_model import WEIGHTS
from backend.geometry.mesh_files import Asset, read_catalogue
from backend.geometry.signature import is_same_shape, signature, write_list

TRAINED = read_list(WEIGHTS / "starter" / "training_data.csv")
TESTED = read_list(Path(__file__).parent / "manifests" / "test_objects.csv")
# One word for different things: a scan of a real one among the test objects, a drawn one among the others.
NAMESAKES = {"ycb_013_apple": "apple", "ycb_024_bowl": "bowl", "ycb_029_plate": "plate"}


def test_no_test_object_was_trained_on():
    assert len(TRAINED) > 2000 and len(TESTED) == 39
    assert not {one.id for one in TESTED} & {one.id for one in TRAINED}
    assert not {one.geo_group for one in TESTED} & {one.geo_group for one in TRAINED}


def test_no_family_of_the_test_objects_was_trained_on():
    trained = {one.family for one in TRAINED}
    shared = {one.id: one.family for one in TESTED if one.family in trained}
    assert shared == NAMESAKES
    assert not [one.id for one in TRAINED if one.family in NAMESAKES.values() and one.id.startswith("ycb")]


def test_no_re_export_of_a_test_object_was_trained_on():
    assert same_shapes(TESTED, TRAINED) == []


def re_export(asset: Asset, rng: np.random.Generator) -> Asset:
    """Y up, another size and place, all corners apart, faces in another order and half of them cut."""
    x, y, z = asset.vertices.astype(np.float64).T
    corners = (np.stack([x, z, -y], axis=1) * 37.5 + np.array([5.0, -100.0, 3.0]))[asset.faces]
    cut, kept = np.array_split(corners[rng.permutation(len(corners))], 2)
    middle = (cut[:, 0] + cut[:, 1]) / 2
    halves = [np.stack([cut[:, 0], middle, cut[:, 2]], 1), np.stack([middle, cut[:, 1], cut[:, 2]], 1)]
    vertices = np.concatenate([*halves, kept]).reshape(-1, 3).astype(np.float32)
    faces = rng.permutation(np.arange(len(vertices)).reshape(-1, 3)).astype(np.int32)
    return replace(asset, vertices=vertices, faces=faces)


def bent(rng: np.random.Generator) -> Asset:
    """Something without symmetry, open on one side."""
    round_one = sphere(rings=8)
    vertices = (
        round_one.vertices * np.array([1.0, 0.6, 0.3]) + rng.normal(size=round_one.vertices.shape) * 0.02
    )
    return replace(round_one, vertices=vertices.astype(np.float32), faces=round_one.faces[40:])


@pytest.mark.parametrize("seed", range(5))
def test_a_signature_survives_re_export_and_tells_shapes_apart(seed):
    rng = np.random.default_rng(seed)
    asset = bent(rng)
    copy = re_export(asset, rng)
    assert is_same_shape(signature(asset.vertices, asset.faces), signature(copy.vertices, copy.faces))
    stretched = asset.vertices * np.array([1.0, 1.03, 1.0])
    assert not is_same_shape(signature(asset.vertices, asset.faces), signature(stretched, asset.faces))


def test_a_hidden_copy_is_found(tmp_path):
    rng = np.random.default_rng(1)
    trained, tested = tmp_path / "trained", tmp_path / "tested"
    for folder in (trained, tested):
        folder.mkdir()
    asset = bent(rng)
    save(cube(), trained / "crate.npz")
    save(re_export(asset, rng), trained / "renamed.npz")
    save(asset, tested / "secret.npz")
    for folder in (trained, tested):
        write_list(read_catalogue(folder), folder / "list.csv")
    found = same_shapes(read_list(tested / "list.csv"), read_list(trained / "list.csv"))
    assert found == [("secret.npz", "renamed.npz")]
    assert str(tmp_path) not in (trained / "list.csv").read_text()
